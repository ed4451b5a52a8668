#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/aim.h"
#include "policy/policy.h"

namespace offramp {

/// The certificate that is stored with a policy. On images like those it was drawn from, with
/// probability at least 1 - delta over their draw, the rate of `of` is at most epsilon.
struct Guarantee {
  std::string of = "harm";  ///< or "disagreement" with the last exit, which needs no labels
  double epsilon = 0, delta = 0;
  double level = 0;          ///< at which the test was made: delta, less what earlier ones spent
  std::int64_t images = 0;   ///< of the certificate
  std::int64_t counted = 0;  ///< harmed, or answered otherwise, among them
  double upper_bound = 0;    ///< Clopper–Pearson, at `level`
  std::string precision;     ///< of the logits; under another one the guarantee does not hold
  std::string kernels = {};  ///< that computed them: "libtorch cpu"
  bool operator==(const Guarantee&) const = default;
};

/// One policy on the path that a certificate was drawn along; only its thresholds differ from the
/// other steps.
struct PathStep {
  Thresholds thresholds;     ///< [K - 1]
  std::int64_t counted = 0;  ///< certify images that are harmed, or answered otherwise
  double accuracy = 0;       ///< on tune
  double relative_cost = 0;  ///< mean, on tune
  bool operator==(const PathStep&) const = default;
};

/// The most certified steps of a path that are kept.
inline constexpr std::size_t kMaxPathSteps = 200;

/// The ever bolder policies that were tested for a certificate, in order. Steps 0 … `chosen` are
/// all certified, so a server may move back along them; the step after `chosen`, if there is one,
/// is the first that failed. Long paths are thinned evenly: step 0, the chosen step and the one
/// that failed are always kept.
struct CertifiedPath {
  std::vector<PathStep> steps;
  std::size_t chosen = 0;  ///< index of the policy that was chosen
  bool operator==(const CertifiedPath&) const = default;
};

/// How many images left at each exit when the policy was chosen, on tune; later images are compared
/// with it.
struct ExitsSeen {
  std::int64_t images = 0;
  std::vector<double> shares;  ///< [K]
  bool operator==(const ExitsSeen&) const = default;
};

/// The policy that a model stops by, and how it was chosen.
struct ChosenPolicy {
  Policy policy;
  std::optional<Aim> aim = {};  ///< none: it is not recorded
  std::optional<Guarantee> guarantee = {};
  std::optional<ExitsSeen> seen = {};
  std::optional<CertifiedPath> path = {};  ///< only with a guarantee; version-1 files have none
  bool operator==(const ChosenPolicy&) const = default;
};

/// @throws Error naming the field if the parts do not fit each other or K exits
void check(const ChosenPolicy& chosen, int exits);

// Texts for people; they are never read back.

/// "confidence ≥ 0.91, 0.87", with "never" for an exit without a threshold.
std::string describe(const Policy& policy);
/// "harm ≤ 0.01 with probability ≥ 0.95".
std::string describe(const Guarantee& guarantee);

}  // namespace offramp
