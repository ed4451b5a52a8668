#include "arrays.h"

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "nanobind/stl/string.h"

namespace offramp::python {
namespace {

/// Whether an object is a truth value: Python's, or a scalar of a dtype "bool" or "torch.bool".
bool is_bool(nb::handle object) {
  if (PyBool_Check(object.ptr())) return true;
  const auto dtype = nb::cast<std::string>(nb::str(nb::getattr(object, "dtype", nb::none())));
  return dtype == "bool" || dtype == "torch.bool";
}

[[noreturn]] void refuse(nb::handle object, const char* name, const char* expected) {
  throw nb::type_error(fmt::format("{}: expected {}, got {}", name, expected,
                                   nb::cast<std::string>(object.type().attr("__name__")))
                           .c_str());
}

}  // namespace

bool is_number(nb::handle object) {
  if (is_bool(object)) return false;
  if (PyFloat_Check(object.ptr()) || PyLong_Check(object.ptr())) return true;
  return nb::hasattr(object, "__float__") &&
         nb::getattr(object, "ndim", nb::int_(0)).equal(nb::int_(0));
}

double to_number(nb::handle object, const char* name) {
  if (!is_number(object)) refuse(object, name, "a number");
  const double number = PyFloat_AsDouble(object.ptr());
  if (number == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
  return number;
}

std::int64_t to_whole_number(nb::handle object, const char* name) {
  if (!is_number(object) || !PyIndex_Check(object.ptr())) refuse(object, name, "a whole number");
  const nb::object index = nb::steal(PyNumber_Index(object.ptr()));
  if (!index.is_valid()) throw nb::python_error();
  const long long number = PyLong_AsLongLong(index.ptr());
  if (number == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw UsageError(fmt::format("{}: expected a whole number of at most 63 bits", name));
  }
  return number;
}

nb::object to_numpy_bool(const std::vector<std::uint8_t>& values) {
  auto kept = std::make_unique<bool[]>(values.size());
  std::ranges::copy(values, kept.get());
  bool* const data = kept.release();
  const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<bool*>(p); });
  return nb::ndarray<nb::numpy, bool>(data, {values.size()}, owner).cast();
}

policy::LogitsView logits_view(const LogitsArray& logits, const LabelsArray& labels) {
  if (logits.shape(1) != labels.shape(0))
    throw UsageError(fmt::format("labels: {} of them for logits of {} images", labels.shape(0),
                                 logits.shape(1)));
  return {{logits.data(), logits.size()},
          span_of(labels),
          static_cast<int>(logits.shape(0)),
          static_cast<int>(logits.shape(2))};
}

std::string shape_text(const nb::ndarray<nb::ro>& array) {
  std::string text = "[";
  for (std::size_t i = 0; i < array.ndim(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ", ", array.shape(i));
  return text + "]";
}

}  // namespace offramp::python
