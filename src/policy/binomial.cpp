#include "policy/binomial.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace offramp {
namespace {

// log n! less Stirling's formula log(√(2πn) (n/e)^n), n ≥ 1.
double stirling_error(double n) {
  // From the definition where the series is not yet accurate.
  if (n <= 15) {
    double log_factorial = 0;
    for (int i = 2; i <= static_cast<int>(n); ++i) log_factorial += std::log(i);
    return log_factorial - (n + 0.5) * std::log(n) + n - 0.5 * std::log(2 * std::numbers::pi);
  }
  const double n2 = n * n;
  return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - 1.0 / 1188 / n2) / n2) / n2) / n2) /
         n;
}

// x log(x / m) + m - x, without the cancellation where x is near m.
double deviance(double x, double m) {
  if (std::abs(x - m) >= 0.1 * (x + m)) return x * std::log(x / m) + m - x;
  const double v = (x - m) / (x + m);
  double sum = (x - m) * v, term = 2 * x * v;
  for (int i = 1; i < 1000; ++i) {
    term *= v * v;
    const double next = sum + term / (2 * i + 1);
    if (next == sum) break;
    sum = next;
  }
  return sum;
}

// One term of the distribution, by Loader's saddle point ("Fast and accurate computation of
// binomial probabilities", 2000): log-gammas of a million would cancel to nine digits. q = 1 - p,
// given because the caller knows it more finely where p is near 1.
double term_of(std::int64_t k, std::int64_t n, double p, double q) {
  const auto a = static_cast<double>(k), b = static_cast<double>(n - k), all = a + b;
  // base^n, rest = 1 - base; with bits to spare, so that 0.5² is 0.25.
  const auto power = [&](long double base, long double rest) {
    return static_cast<double>(
        std::exp(static_cast<long double>(n) * (base < 0.5L ? std::log(base) : std::log1p(-rest))));
  };
  if (k == 0) return power(q, p);
  if (k == n) return power(p, q);
  const double log_ratio = stirling_error(all) - stirling_error(a) - stirling_error(b) -
                           deviance(a, all * p) - deviance(b, all * q);
  return std::exp(log_ratio) * std::sqrt(all / (2 * std::numbers::pi * a * b));
}

// Sum of the terms 0 … k, for k at or below the mode: they fall towards 0.
double lower_tail(std::int64_t k, std::int64_t n, double p, double q) {
  double sum = 0, ratio = 1;
  for (std::int64_t i = k; i >= 0 && ratio > 1e-18 * sum; --i) {
    sum += ratio;
    // Term i - 1 over term i.
    ratio *= static_cast<double>(i) * q / (static_cast<double>(n - i + 1) * p);
  }
  return term_of(k, n, p, q) * sum;
}

// P(X ≤ k) and P(X > k), 0 ≤ k < n, p neither 0 nor 1: the sum itself where its terms fall, else
// the rest of the other.
double at_most(std::int64_t k, std::int64_t n, double p, double q) {
  const double tail = static_cast<double>(k) < static_cast<double>(n + 1) * p
                          ? lower_tail(k, n, p, q)
                          : 1 - lower_tail(n - k - 1, n, q, p);
  return std::clamp(tail, 0.0, 1.0);
}
double above(std::int64_t k, std::int64_t n, double p, double q) {
  return at_most(n - k - 1, n, q, p);
}

// The end of [0, 1] where `falls` becomes false, by halving until no number lies between.
template <typename Falls>
double first_false(const Falls& falls) {
  double low = 0, high = 1;
  for (;;) {
    const double middle = low + 0.5 * (high - low);
    if (middle <= low || middle >= high) return high;
    (falls(middle) ? low : high) = middle;
  }
}

}  // namespace

double binomial_cdf(std::int64_t k, std::int64_t n, double p) {
  OFFRAMP_ASSERT(n >= 0 && p >= 0 && p <= 1);
  if (k < 0) return 0;
  if (k >= n || p == 0) return 1;
  if (p == 1) return 0;
  return at_most(k, n, p, 1 - p);
}

double clopper_pearson_upper(std::int64_t k, std::int64_t n, double delta) {
  OFFRAMP_ASSERT(n > 0 && k >= 0 && k <= n && delta > 0 && delta < 1);
  if (k == n) return 1;
  return first_false([&](double p) { return at_most(k, n, p, 1 - p) > delta; });
}

double clopper_pearson_lower(std::int64_t k, std::int64_t n, double delta) {
  OFFRAMP_ASSERT(n > 0 && k >= 0 && k <= n && delta > 0 && delta < 1);
  if (k == 0) return 0;
  return first_false([&](double p) { return above(k - 1, n, p, 1 - p) <= delta; });
}

}  // namespace offramp
