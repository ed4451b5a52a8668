#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

#include "core/error.h"
#include "offramp/offramp.h"

// Structs of the C interface begin with their size, as the caller was compiled to see them: an
// older caller's lack the last fields, a newer caller's have more than this library knows.

namespace offramp::c_structs {

/// A struct's name, for messages, and its size in the first version of the interface.
template <typename T>
struct Layout;

// No struct ends in padding: a field added later would lie in what older callers leave undefined.
#define OFFRAMP_C_STRUCT(type, first_size, last)                                         \
  template <>                                                                            \
  struct Layout<type> {                                                                  \
    static constexpr const char* kName = #type;                                          \
    static constexpr std::size_t kFirstSize = first_size;                                \
  };                                                                                     \
  static_assert(offsetof(type, size) == 0 && sizeof(type::size) == sizeof(std::size_t)); \
  static_assert(offsetof(type, last) + sizeof(type::last) == sizeof(type));              \
  static_assert(first_size % alignof(type) == 0)

OFFRAMP_C_STRUCT(offramp_options, sizeof(offramp_options), batch);
OFFRAMP_C_STRUCT(offramp_stop, offsetof(offramp_stop, criterion), criterion);
OFFRAMP_C_STRUCT(offramp_session_options, sizeof(offramp_session_options), reserved);
OFFRAMP_C_STRUCT(offramp_image_options, sizeof(offramp_image_options), cancellation);
OFFRAMP_C_STRUCT(offramp_image, sizeof(offramp_image), reserved);
OFFRAMP_C_STRUCT(offramp_answer, offsetof(offramp_answer, limited), cancelled);
OFFRAMP_C_STRUCT(offramp_stream_options, offsetof(offramp_stream_options, on_ready), on_ready);
OFFRAMP_C_STRUCT(offramp_promise, sizeof(offramp_promise), delta);
OFFRAMP_C_STRUCT(offramp_statistics, offsetof(offramp_statistics, shares), drift_p_value);
#undef OFFRAMP_C_STRUCT

/// The size that a caller has given its struct, or the first of its array of structs.
/// @throws UsageError if no caller can mean it
template <typename T>
std::size_t size_of(const T* given) {
  constexpr std::size_t kLargest = 4096;  // more is memory that was not set
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof(size));
  if (size < Layout<T>::kFirstSize || size > kLargest || size % alignof(T) != 0)
    throw UsageError("{}: its size is {}, expected at least {}: was it set by its _INIT macro?",
                     Layout<T>::kName, size, Layout<T>::kFirstSize);
  return size;
}

template <typename T>
const T* element(const T* first, std::size_t index, std::size_t size) {
  return reinterpret_cast<const T*>(reinterpret_cast<const std::byte*>(first) + index * size);
}
template <typename T>
T* element(T* first, std::size_t index, std::size_t size) {
  return reinterpret_cast<T*>(reinterpret_cast<std::byte*>(first) + index * size);
}

/// A struct that the caller filled, with zero for what it does not have.
/// @param size  of size_of()  @throws UsageError if it asks for what this library does not know
template <typename T>
T read(const T* given, std::size_t size) {
  T value;
  std::memset(&value, 0, sizeof(value));
  std::memcpy(&value, given, std::min(size, sizeof(value)));
  value.size = size;
  const std::span bytes(reinterpret_cast<const std::byte*>(given), size);
  if (size > sizeof(value) && std::ranges::any_of(bytes.subspan(sizeof(value)), [](std::byte byte) {
        return byte != std::byte{0};
      }))
    throw UsageError("{}: a field is set that version {} of the library does not know",
                     Layout<T>::kName, offramp_version());
  if constexpr (requires { value.reserved; }) {
    if (value.reserved != 0)
      throw UsageError("{}: reserved is {}, expected 0", Layout<T>::kName, value.reserved);
  }
  return value;
}
template <typename T>
T read(const T* given) {
  return read(given, size_of(given));
}

/// Fills a struct of the caller's: all that it has of `value`, and zero for what this library does
/// not know.
template <typename T>
void write(T* into, std::size_t size, T value) {
  value.size = size;
  const std::size_t known = std::min(size, sizeof(value));
  std::memcpy(static_cast<void*>(into), &value, known);
  std::memset(reinterpret_cast<std::byte*>(into) + known, 0, size - known);
}
template <typename T>
void write(T* into, const T& value) {
  write(into, size_of(into), value);
}

}  // namespace offramp::c_structs
