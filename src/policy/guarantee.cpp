#include "policy/guarantee.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "policy/binomial.h"

namespace offramp {

std::int64_t images_needed(double epsilon, double delta) {
  OFFRAMP_ASSERT(epsilon > 0 && epsilon < 1 && delta > 0 && delta < 1);
  auto n = static_cast<std::int64_t>(std::ceil(std::log(delta) / std::log1p(-epsilon)));
  // The quotient may round across a whole number.
  while (n > 1 && binomial_cdf(0, n - 1, epsilon) <= delta) --n;
  while (binomial_cdf(0, n, epsilon) > delta) ++n;
  return n;
}

std::optional<Certified> certify(std::span<const std::int64_t> harmed, std::int64_t images,
                                 double epsilon, double delta) {
  OFFRAMP_ASSERT(images > 0 && epsilon > 0 && epsilon < 1 && delta > 0 && delta < 1);
  std::optional<Certified> result;
  for (std::size_t m = 0; m < harmed.size(); ++m) {
    OFFRAMP_ASSERT(harmed[m] >= 0 && harmed[m] <= images);
    // The same test as "upper bound ≤ ε", without searching for the bound.
    if (binomial_cdf(harmed[m], images, epsilon) > delta) break;
    result = Certified{m, harmed[m], 0};
  }
  if (result)
    result->upper_bound = std::min(clopper_pearson_upper(result->harmed, images, delta), epsilon);
  return result;
}

double level_of_attempt(double delta, int attempt) {
  OFFRAMP_ASSERT(attempt >= 1);
  return 0.9 * delta * std::pow(0.1, attempt - 1);
}

}  // namespace offramp
