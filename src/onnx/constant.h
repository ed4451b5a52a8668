#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "onnx/axis_view.h"

namespace offramp::onnx {

/// An ONNX tensor whose values are known when the file is read: a weight, or the result of
/// arithmetic on shapes. Floats of all sizes are held as f32; integers and booleans as 64 bits.
/// Copies share the values.
class Constant {
 public:
  using Floats = std::vector<float>;
  using Integers = std::vector<std::int64_t>;

  Constant() = default;
  Constant(Dims shape, Floats values)
      : shape_(std::move(shape)), data_(std::make_shared<const Floats>(std::move(values))) {}
  Constant(Dims shape, Integers values)
      : shape_(std::move(shape)), data_(std::make_shared<const Integers>(std::move(values))) {}

  const Dims& shape() const { return shape_; }
  /// The type of the tensor of the file that holds the values, a TensorProto::DataType; 0 if they
  /// were computed.
  int type() const { return type_; }
  void set_type(int type) { type_ = type; }
  std::int64_t count() const;
  bool is_float() const { return std::holds_alternative<std::shared_ptr<const Floats>>(data_); }

  /// @throws Error if the values are integers
  const Floats& floats() const;
  /// @throws Error if the values are floats
  const Integers& integers() const;
  /// The same values with another shape. @throws Error if the number of elements differs
  Constant reshaped(Dims shape) const;
  /// The only value, as a number. @throws Error if there is not exactly one
  double scalar() const;
  std::int64_t integer() const;
  /// The values as f32, also of integers.
  Floats to_floats() const;

 private:
  Dims shape_;
  int type_ = 0;
  std::variant<std::shared_ptr<const Floats>, std::shared_ptr<const Integers>> data_ =
      std::make_shared<const Integers>();
};

/// The largest number of elements of an ONNX tensor.
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 31;

/// The product of the sizes. @throws Error if a size is negative or the product above kMaxElements
std::int64_t checked_count(const Dims& shape);

/// The index of an axis, which ONNX counts from the end if it is negative.
/// @throws Error if it is out of range
std::size_t checked_axis(std::int64_t axis, std::size_t rank);

}  // namespace offramp::onnx
