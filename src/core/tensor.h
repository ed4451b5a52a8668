#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace offramp {

/// Element types a file can hold. Names as in safetensors.
enum class DType { f32, bf16, f64, i64, i32, u64, u8, i8 };

/// Bytes of one element.
std::size_t size_of(DType dtype);
/// "F32", "BF16", … as safetensors spells it.
std::string_view to_string(DType dtype);

/// Product of the dimensions; 1 for a scalar. @throws Error if it does not fit in 63 bits or one is
/// negative.
std::int64_t element_count(std::span<const std::int64_t> shape);
/// "[64,3,7,7]".
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
  /// The values as f32, converting from f32, bf16 or f64. @throws Error for an integer type.
  std::vector<float> to_f32() const;
  /// The elements in place. @throws Error if T is not the type stored.
  template <typename T>
  std::span<const T> as() const;
  template <typename T>
  std::span<T> as();

  bool operator==(const HostTensor&) const = default;
};

/// Tensors by name: a state dict.
using Tensors = std::map<std::string, HostTensor, std::less<>>;

}  // namespace offramp
