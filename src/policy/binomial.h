#pragma once

#include <cstdint>

namespace offramp {

/// P(X ≤ k) for X ~ Binomial(n, p), from the incomplete beta function. The relative error is below
/// 1e-12 for n up to 1e6, in either tail. @param p  in [0, 1]; k < 0 gives 0, k ≥ n gives 1
double binomial_cdf(std::int64_t k, std::int64_t n, double p);

/// The least p with P(X ≤ k) ≤ delta: with probability at least 1 - delta a rate of which k in n
/// images were seen lies at or below it (Clopper, Pearson, 1934). 1 if k = n.
/// @param n  above 0; @param delta  in (0, 1)
double clopper_pearson_upper(std::int64_t k, std::int64_t n, double delta);
/// Likewise from below: the largest p with P(X ≥ k) ≤ delta. 0 if k = 0.
double clopper_pearson_lower(std::int64_t k, std::int64_t n, double delta);

}  // namespace offramp
