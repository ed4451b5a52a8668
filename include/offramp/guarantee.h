#pragma once

#include <optional>
#include <string>

namespace offramp {

/// Whether a guarantee applies to the answers of a model as it runs here.
enum class InForce {
  no,
  yes,
  unknown,  ///< nothing speaks against it, but something could not be checked yet
};

/// The certified bound on a policy's errors, and whether it is in force: with probability at least
/// 1 - `delta` over the draw of the certify images, the rate of the event `of` on images of the
/// same distribution is at most `epsilon`.
struct Guarantee {
  /// "harm" (the last exit classifies the image correctly and the policy does not) or
  /// "disagreement" (the policy and the last exit predict different classes).
  std::string of;
  double epsilon = 0;  ///< bound on the rate, in (0, 1)
  double delta = 0;    ///< probability that the bound is wrong, in (0, 1)
  InForce in_force = InForce::no;
  /// Why it is not in force, or why that is not known: one line. Empty if it is in force.
  std::string why;
  /// What the policy's answers are compared with: "last_exit", or "ensemble" of all exits.
  std::string against = "last_exit";
  /// Bound on the rate of images for which the policy and `against` predict different classes. It
  /// needs no labels, so a program can watch it. It is certified together with the other one:
  /// `delta` is the probability that either is wrong. nullopt: the file holds none.
  std::optional<double> disagreement = {};
};

}  // namespace offramp
