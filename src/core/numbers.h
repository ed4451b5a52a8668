#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace offramp::core {

/// The median of at least one value. For an even number of values it is the larger of the two
/// middle ones.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace offramp::core
