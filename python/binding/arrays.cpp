#include "arrays.h"

#include <algorithm>
#include <memory>

#include "core/error.h"

namespace offramp::python {

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
