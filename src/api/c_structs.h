#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

#include "core/error.h"
#include "offramp/offramp.h"

// Reading and writing the structs of the C interface. Each begins with its size in the header that
// the caller was compiled with: a struct of an older caller lacks the newest fields, and one of a
// newer caller has fields that this library does not know.

namespace offramp::api::c_structs {

/// The name of a struct, for messages, and its size in the first version of the interface.
template <typename T>
struct Layout;

// No struct may end in padding: older callers leave padding undefined, and a field that is added
// later would lie there.
#define OFFRAMP_C_STRUCT(type, first_size, last)                                         \
  template <>                                                                            \
  struct Layout<type> {                                                                  \
    static constexpr const char* kName = #type;                                          \
    static constexpr std::size_t kFirstSize = (first_size);                              \
  };                                                                                     \
  static_assert(offsetof(type, size) == 0 && sizeof(type::size) == sizeof(std::size_t)); \
  static_assert(offsetof(type, last) + sizeof(type::last) == sizeof(type));              \
  static_assert((first_size) % alignof(type) == 0)

OFFRAMP_C_STRUCT(offramp_options, sizeof(offramp_options), batch);
OFFRAMP_C_STRUCT(offramp_stop, offsetof(offramp_stop, criterion), criterion);
OFFRAMP_C_STRUCT(offramp_session_options, sizeof(offramp_session_options), reserved);
// The last member of offramp_image_options is a pointer, whose own size is meant.
// NOLINTNEXTLINE(bugprone-sizeof-expression)
OFFRAMP_C_STRUCT(offramp_image_options, sizeof(offramp_image_options), cancellation);
OFFRAMP_C_STRUCT(offramp_image, sizeof(offramp_image), reserved);
OFFRAMP_C_STRUCT(offramp_answer, offsetof(offramp_answer, limited), cancelled);
OFFRAMP_C_STRUCT(offramp_stream_options, offsetof(offramp_stream_options, on_ready), on_ready);
OFFRAMP_C_STRUCT(offramp_guarantee, offsetof(offramp_guarantee, disagreement), disagreement);
OFFRAMP_C_STRUCT(offramp_statistics, offsetof(offramp_statistics, shares), drift_p_value);
#undef OFFRAMP_C_STRUCT

/// The size that the caller has set in a struct, or in the first of an array of structs.
/// @throws UsageError if it is not the size of any version of the struct
template <typename T>
std::size_t size_of(const T* given) {
  constexpr std::size_t kLargest = 4096;  // a larger size means that the caller did not set it
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof(size));
  if (size < Layout<T>::kFirstSize || size > kLargest || size % alignof(T) != 0)
    throw UsageError(
        fmt::format("{}: size is {}, expected at least {}; set the struct to its _INIT macro",
                    Layout<T>::kName, size, Layout<T>::kFirstSize));
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

/// Copies a struct that the caller filled. Fields that the caller's version lacks become zero.
/// @param size  the result of size_of()
/// @throws UsageError if a field that this library does not know is not zero
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
    throw UsageError(fmt::format("{}: a field is set that version {} of the library does not know",
                                 Layout<T>::kName, offramp_version()));
  if constexpr (requires { value.reserved; }) {
    if (value.reserved != 0)
      throw UsageError(
          fmt::format("{}: reserved is {}, expected 0", Layout<T>::kName, value.reserved));
  }
  return value;
}
template <typename T>
T read(const T* given) {
  return read(given, size_of(given));
}

/// Writes `value` to a struct of the caller, as far as that has the fields. Fields that this
/// library does not know become zero.
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

}  // namespace offramp::api::c_structs
