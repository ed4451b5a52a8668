#pragma once

#include <cstdint>

namespace offramp::policy {

/// Returns P(X ≤ k) for X ~ Binomial(n, p), from the incomplete beta function. The relative error
/// is below 1e-12 for n up to 1e6, in both tails. The result is 0 for k < 0 and 1 for k ≥ n.
/// @param p  in [0, 1]
double binomial_cdf(std::int64_t k, std::int64_t n, double p);

/// Returns the upper Clopper-Pearson bound of a rate (Clopper, Pearson, 1934): the smallest p with
/// P(X ≤ k) ≤ delta for X ~ Binomial(n, p). If k of n images were counted, the true rate is at most
/// this bound with probability at least 1 - delta. The bound is 1 for k = n.
/// @param n  above 0; @param delta  in (0, 1)
double clopper_pearson_upper(std::int64_t k, std::int64_t n, double delta);
/// Returns the lower Clopper-Pearson bound of a rate: the largest p with P(X ≥ k) ≤ delta. The
/// bound is 0 for k = 0. The parameters are those of clopper_pearson_upper().
double clopper_pearson_lower(std::int64_t k, std::int64_t n, double delta);

}  // namespace offramp::policy
