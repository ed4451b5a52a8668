#include "policy/binomial.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace offramp {
namespace {

// log of the binomial coefficient times p^k (1 - p)^(n - k).
double log_term(std::int64_t k, std::int64_t n, double p) {
  const auto a = static_cast<double>(k), b = static_cast<double>(n - k);
  return std::lgamma(a + b + 1) - std::lgamma(a + 1) - std::lgamma(b + 1) + a * std::log(p) +
         b * std::log1p(-p);
}

// Sum of the terms 0 … k, for k at or below the mode: they fall towards 0.
double lower_tail(std::int64_t k, std::int64_t n, double p) {
  const double first = std::exp(log_term(k, n, p));
  double sum = 0, term = 1;
  for (std::int64_t i = k; i >= 0 && term > 1e-18 * sum; --i) {
    sum += term;
    // Term i - 1 over term i.
    term *= static_cast<double>(i) * (1 - p) / (static_cast<double>(n - i + 1) * p);
  }
  return first * sum;
}

}  // namespace

double binomial_cdf(std::int64_t k, std::int64_t n, double p) {
  OFFRAMP_ASSERT(n >= 0 && p >= 0 && p <= 1);
  if (k < 0) return 0;
  if (k >= n || p == 0) return 1;
  if (p == 1) return 0;
  const double below = static_cast<double>(n + 1) * p;
  const double tail = static_cast<double>(k) < below
                          ? lower_tail(k, n, p)
                          : 1 - lower_tail(n - k - 1, n, 1 - p);  // the other side's smaller terms
  return std::clamp(tail, 0.0, 1.0);
}

double clopper_pearson_upper(std::int64_t k, std::int64_t n, double delta) {
  OFFRAMP_ASSERT(n > 0 && k >= 0 && k <= n && delta > 0 && delta < 1);
  if (k == n) return 1;
  double low = static_cast<double>(k) / static_cast<double>(n), high = 1;
  // The cdf falls in p; 100 halvings leave no representable number between the ends.
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (binomial_cdf(k, n, middle) > delta ? low : high) = middle;
  }
  return high;
}

double clopper_pearson_lower(std::int64_t k, std::int64_t n, double delta) {
  return 1 - clopper_pearson_upper(n - k, n, delta);
}

}  // namespace offramp
