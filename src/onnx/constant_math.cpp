#include "onnx/constant_math.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/tensor.h"

namespace offramp::onnx {
namespace {

/// For each dimension of a result, how far its next element is in an operand; 0 where the operand
/// is repeated.
Dims strides_in(const Dims& operand, const Dims& result) {
  Dims strides(result.size(), 0);
  std::int64_t step = 1;
  for (std::size_t i = 0; i < operand.size(); ++i) {
    const std::size_t from_end = operand.size() - 1 - i;
    if (operand[from_end] != 1) strides[result.size() - 1 - i] = step;
    step *= operand[from_end];
  }
  return strides;
}

/// Calls visit(offsets) for every element of `shape` in row-major order. @param strides  for each
/// operand, as strides_in gives them
template <std::size_t N, typename Visit>
void each_element(const Dims& shape, const std::array<Dims, N>& strides, const Visit& visit) {
  const std::int64_t count = checked_count(shape);
  Dims index(shape.size(), 0);
  std::array<std::size_t, N> offsets{};
  for (std::int64_t n = 0; n < count; ++n) {
    visit(offsets);
    for (std::size_t d = shape.size(); d-- > 0;) {
      for (std::size_t k = 0; k < N; ++k) offsets[k] += static_cast<std::size_t>(strides[k][d]);
      if (++index[d] < shape[d]) break;
      for (std::size_t k = 0; k < N; ++k)
        offsets[k] -= static_cast<std::size_t>(strides[k][d] * shape[d]);
      index[d] = 0;
    }
  }
}

template <typename T>
std::vector<T> gathered(const std::vector<T>& values, const Dims& shape, const Dims& strides) {
  std::vector<T> result;
  result.reserve(static_cast<std::size_t>(checked_count(shape)));
  each_element<1>(shape, {strides},
                  [&](const auto& offsets) { result.push_back(values[offsets[0]]); });
  return result;
}

Constant gathered(const Constant& constant, const Dims& shape, const Dims& strides) {
  if (constant.is_float()) return {shape, gathered(constant.floats(), shape, strides)};
  return {shape, gathered(constant.integers(), shape, strides)};
}

template <typename T>
std::vector<T> taken(const std::vector<T>& values, std::int64_t outer, std::int64_t size,
                     std::int64_t inner, const std::vector<std::int64_t>& indices) {
  std::vector<T> result;
  result.reserve(static_cast<std::size_t>(outer * inner) * indices.size());
  for (std::int64_t o = 0; o < outer; ++o)
    for (const std::int64_t index : indices) {
      const auto begin = values.begin() + (o * size + index) * inner;
      result.insert(result.end(), begin, begin + inner);
    }
  return result;
}

std::pair<std::int64_t, std::int64_t> around(const Dims& shape, std::size_t axis) {
  std::int64_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (i != axis) (i < axis ? outer : inner) *= shape[i];
  return {outer, inner};
}

}  // namespace

Dims broadcast_shape(const Dims& a, const Dims& b) {
  Dims result(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::int64_t left = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t right = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (left != right && left != 1 && right != 1)
      throw Error(
          fmt::format("shapes {} and {} do not match", core::to_string(a), core::to_string(b)));
    result[result.size() - 1 - i] = left == 1 ? right : left;
  }
  return result;
}

Constant combine(const Constant& a, const Constant& b,
                 std::int64_t (*integers)(std::int64_t, std::int64_t),
                 float (*floats)(float, float)) {
  Dims shape = broadcast_shape(a.shape(), b.shape());
  const std::array<Dims, 2> strides = {strides_in(a.shape(), shape), strides_in(b.shape(), shape)};
  if (!a.is_float() && !b.is_float()) {
    Constant::Integers result;
    each_element<2>(shape, strides, [&](const auto& offsets) {
      result.push_back(integers(a.integers()[offsets[0]], b.integers()[offsets[1]]));
    });
    return {std::move(shape), std::move(result)};
  }
  const Constant::Floats left = a.to_floats(), right = b.to_floats();
  Constant::Floats result;
  each_element<2>(shape, strides, [&](const auto& offsets) {
    result.push_back(floats(left[offsets[0]], right[offsets[1]]));
  });
  return {std::move(shape), std::move(result)};
}

Constant broadcast(const Constant& constant, const Dims& shape) {
  if (broadcast_shape(constant.shape(), shape) != shape)
    throw Error(fmt::format("{} cannot be repeated to {}", core::to_string(constant.shape()),
                            core::to_string(shape)));
  return gathered(constant, shape, strides_in(constant.shape(), shape));
}

Constant transposed(const Constant& constant, const std::vector<std::size_t>& order) {
  const Dims& from = constant.shape();
  Dims steps(from.size(), 1), shape, strides;
  for (std::size_t i = from.size(); i-- > 1;) steps[i - 1] = steps[i] * from[i];
  for (const std::size_t axis : order) {
    shape.push_back(from[axis]);
    strides.push_back(steps[axis]);
  }
  return gathered(constant, shape, strides);
}

Constant taken(const Constant& constant, std::size_t axis,
               const std::vector<std::int64_t>& indices) {
  Dims shape = constant.shape();
  const auto [outer, inner] = around(shape, axis);
  const std::int64_t size = shape[axis];
  shape[axis] = static_cast<std::int64_t>(indices.size());
  if (constant.is_float())
    return {std::move(shape), taken(constant.floats(), outer, size, inner, indices)};
  return {std::move(shape), taken(constant.integers(), outer, size, inner, indices)};
}

Constant joined(const std::vector<const Constant*>& parts, std::size_t axis) {
  Dims shape = parts.front()->shape();
  shape[axis] = 0;
  for (const Constant* part : parts) {
    Dims other = part->shape();
    if (other.size() != shape.size() || part->is_float() != parts.front()->is_float())
      throw Error("constants of different kinds cannot be joined");
    const std::int64_t size = other[axis];
    other[axis] = shape[axis];
    if (other != shape)
      throw Error(fmt::format("{} and {} cannot be joined along axis {}",
                              core::to_string(parts.front()->shape()),
                              core::to_string(part->shape()), axis));
    shape[axis] += size;
  }
  const auto [outer, inner] = around(shape, axis);
  const auto join = [&, outer = outer, inner = inner](const auto& values_of) {
    auto result = values_of(*parts.front());
    result.clear();
    for (std::int64_t o = 0; o < outer; ++o)
      for (const Constant* part : parts) {
        const auto& values = values_of(*part);
        const std::int64_t size = part->shape()[axis] * inner;
        result.insert(result.end(), values.begin() + o * size, values.begin() + (o + 1) * size);
      }
    return result;
  };
  checked_count(shape);
  if (parts.front()->is_float())
    return {shape,
            join([](const Constant& part) -> const Constant::Floats& { return part.floats(); })};
  return {shape,
          join([](const Constant& part) -> const Constant::Integers& { return part.integers(); })};
}

std::vector<std::int64_t> slice_indices(std::int64_t begin, std::int64_t end, std::int64_t step,
                                        std::int64_t size) {
  if (step == 0 || step < -kMaxElements || step > kMaxElements)
    throw Error(fmt::format("a slice has the step {}", step));
  const auto limited = [size](std::int64_t index, std::int64_t low, std::int64_t high) {
    if (index < 0) index = index < -size ? low : index + size;
    return std::clamp(index, low, high);
  };
  std::vector<std::int64_t> indices;
  if (step > 0) {
    end = limited(end, 0, size);
    for (std::int64_t i = limited(begin, 0, size); i < end; i += step) indices.push_back(i);
  } else {
    end = limited(end, -1, size - 1);
    for (std::int64_t i = limited(begin, -1, size - 1); i > end; i += step) indices.push_back(i);
  }
  return indices;
}

}  // namespace offramp::onnx
