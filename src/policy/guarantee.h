#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace offramp {

/// The fewest images with which a policy that harms none of them is certified: (1 - ε)^n ≤ δ. More
/// than 10^12 are not exact, and more than 9·10^18 are given as 9·10^18.
std::int64_t images_needed(double epsilon, double delta);

/// Tests the policies of a path in their order, each for a rate of at most `epsilon` at level
/// `delta`, and stops at the first that fails (fixed-sequence testing: learn then test,
/// Angelopoulos et al., 2021; Jazbec et al., 2024). The path must not depend on these images.
/// @param harmed  [M] images that each policy harms, of `images`
/// @return index of the last that passed; nullopt if the first failed
std::optional<std::size_t> last_certified(std::span<const std::int64_t> harmed, std::int64_t images,
                                          double epsilon, double delta);

/// The level of the `attempt`-th certificate (from 1) drawn from the same images, so that all of
/// them together err with probability at most `delta`: 0.9 δ, 0.09 δ, 0.009 δ, …
double level_of_attempt(double delta, int attempt);

}  // namespace offramp
