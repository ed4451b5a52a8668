#include "policy/fixed_sequence.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "policy/binomial.h"

namespace offramp::policy {

std::int64_t images_needed(double epsilon, double delta) {
  OFFRAMP_ASSERT(epsilon > 0 && epsilon < 1 && delta > 0 && delta < 1);
  const double quotient = std::ceil(std::log(delta) / std::log1p(-epsilon));
  // So many images do not occur in practice, and doubles are too coarse for the exact search below.
  if (!(quotient <= 1e12)) return static_cast<std::int64_t>(std::min(quotient, 9e18));
  auto n = std::max<std::int64_t>(1, static_cast<std::int64_t>(quotient));
  // Rounding may have moved the quotient past a whole number, so the result is adjusted.
  while (n > 1 && binomial_cdf(0, n - 1, epsilon) <= delta) --n;
  while (binomial_cdf(0, n, epsilon) > delta) ++n;
  return n;
}

std::optional<std::size_t> last_certified(std::span<const std::int64_t> harmed, std::int64_t images,
                                          double epsilon, double delta) {
  OFFRAMP_ASSERT(images > 0 && epsilon > 0 && epsilon < 1 && delta > 0 && delta < 1);
  std::optional<std::size_t> last;
  for (std::size_t m = 0; m < harmed.size(); ++m) {
    OFFRAMP_ASSERT(harmed[m] >= 0 && harmed[m] <= images);
    // This is equivalent to "upper bound ≤ ε" and does not need the bound itself.
    if (binomial_cdf(harmed[m], images, epsilon) > delta) break;
    last = m;
  }
  return last;
}

double level_of_attempt(double delta, int attempt) {
  OFFRAMP_ASSERT(attempt >= 1);
  return 0.9 * delta * std::pow(0.1, attempt - 1);
}

}  // namespace offramp::policy
