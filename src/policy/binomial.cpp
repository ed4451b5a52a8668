#include "policy/binomial.h"

#include <boost/math/distributions/binomial.hpp>

#include "core/error.h"
#include "policy/boost_math.h"

namespace offramp::policy {
namespace {

using Binomial = boost::math::binomial_distribution<double, detail::MathPolicy>;

Binomial distribution(std::int64_t n, double p) { return Binomial(static_cast<double>(n), p); }

}  // namespace

double binomial_cdf(std::int64_t k, std::int64_t n, double p) {
  OFFRAMP_ASSERT(n >= 0 && p >= 0 && p <= 1);
  if (k < 0) return 0;
  if (k >= n || p == 0) return 1;
  if (p == 1) return 0;
  return boost::math::cdf(distribution(n, p), static_cast<double>(k));
}

double clopper_pearson_upper(std::int64_t k, std::int64_t n, double delta) {
  OFFRAMP_ASSERT(n > 0 && k >= 0 && k <= n && delta > 0 && delta < 1);
  if (k == n) return 1;
  return Binomial::find_upper_bound_on_p(static_cast<double>(n), static_cast<double>(k), delta);
}

double clopper_pearson_lower(std::int64_t k, std::int64_t n, double delta) {
  OFFRAMP_ASSERT(n > 0 && k >= 0 && k <= n && delta > 0 && delta < 1);
  if (k == 0) return 0;
  return Binomial::find_lower_bound_on_p(static_cast<double>(n), static_cast<double>(k), delta);
}

}  // namespace offramp::policy
