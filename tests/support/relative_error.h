#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace offramp::test {

/// Returns max |a - b| / max |b| of two sequences of the same size; infinity if a value of `a` is
/// not finite.
template <typename A, typename B>
double relative_error(const A& a, const B& b) {
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    if (!std::isfinite(x)) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, std::abs(x - y));
    largest = std::max(largest, std::abs(y));
  }
  return difference / largest;
}

}  // namespace offramp::test
