#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offramp::core {

/// The element types that a safetensors file can hold here.
enum class DType { f32, bf16, f64, i64, i32, u64, u8, i8 };

/// The size of one element in bytes.
std::size_t size_of(DType dtype);
/// The name of a type in the safetensors format: "F32", "BF16", …
std::string_view to_string(DType dtype);

/// The product of the dimensions; 1 for a scalar. @throws Error if it does not fit in 63 bits or a
/// dimension is negative
std::int64_t element_count(std::span<const std::int64_t> shape);
/// The text of a shape, for example "[64,3,7,7]".
std::string to_string(std::span<const std::int64_t> shape);

/// A dense row-major array in host memory that owns its bytes.
struct HostTensor {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;

  static HostTensor of(std::vector<std::int64_t> shape, std::span<const float> values);
  static HostTensor of(std::vector<std::int64_t> shape, std::span<const std::int64_t> values);
  static HostTensor of(std::vector<std::int64_t> shape, std::span<const std::uint64_t> values);
  static HostTensor of(std::vector<std::int64_t> shape, std::span<const std::uint8_t> values);

  std::int64_t count() const { return element_count(shape); }
  /// Returns the values of a tensor of type f32, bf16 or f64 as f32. A value beyond the range of
  /// f32 becomes infinite. @throws Error for an integer type
  std::vector<float> to_f32() const;
  /// Returns the elements without copying them. @throws Error if T is not the stored type
  template <typename T>
  std::span<const T> as() const;
  template <typename T>
  std::span<T> as();

  bool operator==(const HostTensor&) const = default;
};

/// Tensors by name, such as the weights of a network.
using Tensors = std::map<std::string, HostTensor, std::less<>>;

}  // namespace offramp::core
