#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace offramp::policy {

/// Returns the smallest number n of images that certifies a policy which harms none of them:
/// (1 - ε)^n ≤ δ. Results above 10^12 are approximate, and results above 9·10^18 are returned as
/// 9·10^18.
std::int64_t images_needed(double epsilon, double delta);

/// Tests the policies of a path in their order, each for a rate of at most `epsilon` at level
/// `delta`, and stops at the first that fails (fixed-sequence testing: learn then test,
/// Angelopoulos et al., 2021; Jazbec et al., 2024). The path must not depend on these images.
/// @param harmed  [M] for each policy, the number of images that it harms
/// @return index of the last policy that passed; nullopt if the first policy failed
std::optional<std::size_t> last_certified(std::span<const std::int64_t> harmed, std::int64_t images,
                                          double epsilon, double delta);

/// Returns the level of the `attempt`-th certificate (from 1) from the same images: 0.9 δ, 0.09 δ,
/// 0.009 δ, … These sum to δ, so the probability that any of the certificates is wrong is at most
/// `delta`.
double level_of_attempt(double delta, int attempt);

}  // namespace offramp::policy
