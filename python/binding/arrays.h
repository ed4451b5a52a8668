#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "nanobind/nanobind.h"
#include "nanobind/ndarray.h"
#include "policy/logits.h"

namespace offramp::python {

namespace nb = nanobind;

template <typename T, int dimensions>
using InputArray = nb::ndarray<const T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

using LogitsArray = InputArray<float, 3>;         // [K, N, classes]
using LabelsArray = InputArray<std::int64_t, 1>;  // [N]
using CostsArray = InputArray<double, 1>;         // [K]

/// A numpy array that owns `values`. @param shape  its product is the number of values
template <typename T>
nb::object to_numpy(std::vector<T> values, std::vector<std::size_t> shape) {
  auto* kept = new std::vector<T>(std::move(values));
  const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(kept->data(), shape.size(), shape.data(), owner).cast();
}
template <typename T>
nb::object to_numpy(std::vector<T> values) {
  const std::size_t size = values.size();
  return to_numpy(std::move(values), {size});
}
/// One byte a value, 0 or 1, as numpy's bool.
nb::object to_numpy_bool(const std::vector<std::uint8_t>& values);

/// @throws Error if the number of labels is not the number of images
policy::LogitsView logits_view(const LogitsArray& logits, const LabelsArray& labels);

template <typename T>
std::span<const T> span_of(const InputArray<T, 1>& array) {
  return {array.data(), array.shape(0)};
}

/// A number of Python, numpy or a tensor without dimensions; truth values are none.
/// @throws nb::type_error "<name>: expected a number, got str"
double to_number(nb::handle object, const char* name);
/// The same, of a whole number of 64 bits. @throws also UsageError, of a larger one
std::int64_t to_whole_number(nb::handle object, const char* name);
/// Whether to_number() takes an object.
bool is_number(nb::handle object);

/// "[3, 32, 32]"
std::string shape_text(const nb::ndarray<nb::ro>& array);

}  // namespace offramp::python
