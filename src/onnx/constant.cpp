#include "onnx/constant.h"

#include "core/error.h"
#include "core/tensor.h"

namespace offramp::onnx {

std::int64_t checked_count(const Dims& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0)
      throw Error(fmt::format("a tensor has a negative size: {}", core::to_string(shape)));
    if (size > kMaxElements || (size > 0 && count > kMaxElements / size))
      throw Error(fmt::format("a tensor has more than 2^31 elements: {}", core::to_string(shape)));
    count *= size;
  }
  return count;
}

std::size_t checked_axis(std::int64_t axis, std::size_t rank) {
  const auto size = static_cast<std::int64_t>(rank);
  if (axis < -size || axis >= size)
    throw Error(fmt::format("axis {} is out of range for {} dimensions", axis, rank));
  return static_cast<std::size_t>(axis < 0 ? axis + size : axis);
}

std::int64_t Constant::count() const {
  return std::visit([](const auto& values) { return static_cast<std::int64_t>(values->size()); },
                    data_);
}

const Constant::Floats& Constant::floats() const {
  if (!is_float()) throw Error("expected a tensor of floats, got integers");
  return *std::get<std::shared_ptr<const Floats>>(data_);
}

const Constant::Integers& Constant::integers() const {
  if (is_float()) throw Error("expected a tensor of integers, got floats");
  return *std::get<std::shared_ptr<const Integers>>(data_);
}

Constant Constant::reshaped(Dims shape) const {
  if (checked_count(shape) != count())
    throw Error(fmt::format("{} cannot be reshaped to {}", core::to_string(shape_),
                            core::to_string(shape)));
  Constant result = *this;
  result.shape_ = std::move(shape);
  return result;
}

double Constant::scalar() const {
  if (count() != 1) throw Error(fmt::format("expected one value, got {}", count()));
  return is_float() ? static_cast<double>(floats()[0]) : static_cast<double>(integers()[0]);
}

std::int64_t Constant::integer() const {
  if (count() != 1) throw Error(fmt::format("expected one value, got {}", count()));
  return integers()[0];
}

Constant::Floats Constant::to_floats() const {
  if (is_float()) return floats();
  Floats result;
  result.reserve(integers().size());
  for (const std::int64_t value : integers()) result.push_back(static_cast<float>(value));
  return result;
}

}  // namespace offramp::onnx
