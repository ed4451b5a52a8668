#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace offramp {

/// What a certificate says: with probability at least 1 - delta over the draw of the images, a
/// policy's rate of harm is at most epsilon.
struct Certified {
  std::size_t index = 0;    ///< of the policy on its path
  std::int64_t harmed = 0;  ///< images of the certificate that it harmed
  double upper_bound = 0;   ///< Clopper–Pearson bound of its rate at the level used; ≤ epsilon
};

/// The fewest images with which a policy that harms none of them is certified: (1 - ε)^n ≤ δ.
std::int64_t images_needed(double epsilon, double delta);

/// Tests the policies of a path in their order, each for a rate of at most `epsilon` at level
/// `delta`, and stops at the first that fails (fixed-sequence testing: learn then test,
/// Angelopoulos et al., 2021; Jazbec et al., 2024). The path must not depend on these images.
/// @param harmed  [M] images that each policy harms, of `images`
/// @return the last that passed; nullopt if the first failed
std::optional<Certified> certify(std::span<const std::int64_t> harmed, std::int64_t images,
                                 double epsilon, double delta);

/// The level of the `attempt`-th certificate (from 1) drawn from the same images, so that all of
/// them together err with probability at most `delta`: 0.9 δ, 0.09 δ, 0.009 δ, …
double level_of_attempt(double delta, int attempt);

}  // namespace offramp
