#include "core/tensor.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/bf16.h"
#include "core/error.h"

namespace offramp::core {
namespace {

template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, std::uint16_t>) return DType::bf16;
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::i64;
  if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, std::uint64_t>) return DType::u64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DType::u8;
  if constexpr (std::is_same_v<T, std::int8_t>) return DType::i8;
}

template <typename T>
HostTensor make(std::vector<std::int64_t> shape, std::span<const T> values) {
  if (element_count(shape) != static_cast<std::int64_t>(values.size()))
    throw Error(
        fmt::format("a tensor of shape {} cannot hold {} values", to_string(shape), values.size()));
  const auto bytes = std::as_bytes(values);
  return {dtype_of<T>(), std::move(shape), {bytes.begin(), bytes.end()}};
}

void expect_dtype(DType stored, DType asked) {
  if (stored != asked)
    throw Error(
        fmt::format("expected a tensor of {}, got {}", to_string(asked), to_string(stored)));
}

}  // namespace

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
    case DType::u64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::u8:
    case DType::i8:
      return 1;
  }
  throw Error("unknown element type");
}

std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::bf16:
      return "BF16";
    case DType::f64:
      return "F64";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::u64:
      return "U64";
    case DType::u8:
      return "U8";
    case DType::i8:
      return "I8";
  }
  throw Error("unknown element type");
}

std::int64_t element_count(std::span<const std::int64_t> shape) {
  if (std::ranges::any_of(shape, [](std::int64_t size) { return size < 0; }))
    throw Error(fmt::format("shape {} has a negative dimension", to_string(shape)));
  // A dimension of 0 is handled before multiplying: [2^62, 4, 0] has 0 elements, although a partial
  // product overflows.
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::int64_t count = 1;
  for (std::int64_t size : shape)
    if (__builtin_mul_overflow(count, size, &count))
      throw Error(fmt::format("shape {} has more elements than can be counted", to_string(shape)));
  return count;
}

std::string to_string(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ","));
}

HostTensor HostTensor::of(std::vector<std::int64_t> shape, std::span<const float> values) {
  return make(std::move(shape), values);
}
HostTensor HostTensor::of(std::vector<std::int64_t> shape, std::span<const std::int64_t> values) {
  return make(std::move(shape), values);
}
HostTensor HostTensor::of(std::vector<std::int64_t> shape, std::span<const std::uint64_t> values) {
  return make(std::move(shape), values);
}
HostTensor HostTensor::of(std::vector<std::int64_t> shape, std::span<const std::uint8_t> values) {
  return make(std::move(shape), values);
}

std::vector<float> HostTensor::to_f32() const {
  std::vector<float> result(bytes.size() / size_of(dtype));
  switch (dtype) {
    case DType::f32:
      if (!bytes.empty()) std::memcpy(result.data(), bytes.data(), bytes.size());
      return result;
    case DType::bf16:
      std::ranges::transform(as<std::uint16_t>(), result.begin(), from_bf16);
      return result;
    case DType::f64:
      std::ranges::transform(as<double>(), result.begin(), [](double value) {
        // The conversion of a double beyond the range of f32 is undefined behaviour. It becomes
        // infinite instead, which the caller's check for finite values finds.
        if (value > std::numeric_limits<float>::max())
          return std::numeric_limits<float>::infinity();
        if (value < std::numeric_limits<float>::lowest())
          return -std::numeric_limits<float>::infinity();
        return static_cast<float>(value);
      });
      return result;
    default:
      throw Error(fmt::format("a tensor of {} holds no floating-point values", to_string(dtype)));
  }
}

template <typename T>
std::span<const T> HostTensor::as() const {
  expect_dtype(dtype, dtype_of<T>());
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

template <typename T>
std::span<T> HostTensor::as() {
  expect_dtype(dtype, dtype_of<T>());
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

#define OFFRAMP_INSTANTIATE(T)                           \
  template std::span<const T> HostTensor::as<T>() const; \
  template std::span<T> HostTensor::as<T>();
OFFRAMP_INSTANTIATE(float)
OFFRAMP_INSTANTIATE(double)
OFFRAMP_INSTANTIATE(std::uint16_t)
OFFRAMP_INSTANTIATE(std::int64_t)
OFFRAMP_INSTANTIATE(std::int32_t)
OFFRAMP_INSTANTIATE(std::uint64_t)
OFFRAMP_INSTANTIATE(std::uint8_t)
OFFRAMP_INSTANTIATE(std::int8_t)
#undef OFFRAMP_INSTANTIATE

}  // namespace offramp::core
