#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/aim.h"
#include "policy/policy.h"

namespace offramp::policy {

/// A bound on the rate of images that a policy classifies differently from the reference of its
/// guarantee of harm. It needs no labels, so a server can watch it. It is certified in the same
/// attempt, at a part of its level, for all steps of the path together: see
/// disagreement_bounds().
struct DisagreementBound {
  double level = 0;          ///< level of the bound of one step
  std::int64_t counted = 0;  ///< certify images that the policy classifies differently
  double upper_bound = 0;    ///< Clopper–Pearson bound of counted / images at `level`
  bool operator==(const DisagreementBound&) const = default;
};

/// The certificate that is stored with a policy. For images like the certify images, the rate of
/// `of` is at most epsilon, with probability at least 1 - delta over the draw of the certify
/// images.
struct Guarantee {
  std::string of = "harm";  ///< "harm", or "disagreement" with `against`, which needs no labels
  double epsilon = 0, delta = 0;
  double level = 0;          ///< level of the test: the part of delta that this attempt may use
  std::int64_t images = 0;   ///< number of certify images
  std::int64_t counted = 0;  ///< certify images that are harmed, or classified differently
  double upper_bound = 0;    ///< Clopper–Pearson bound of counted / images at `level`
  std::string precision;     ///< precision of the logits; the guarantee does not hold for any other
  std::string kernels = {};  ///< the code that computed the logits: "libtorch cpu"
  HarmReference against = HarmReference::last_exit;  ///< what `counted` compares the policy with
  /// model::certified_hash() of the certified model; empty: unknown, in files of earlier programs.
  std::string hash = {};
  /// A second bound, only if `of` is harm. Files of earlier programs have none.
  std::optional<DisagreementBound> disagreement = {};
  bool operator==(const Guarantee&) const = default;
};

/// The bound on the rate of images that are classified differently from `against`, by whichever
/// part of the certificate gives one; nullopt: none does.
std::optional<double> disagreement_bound(const Guarantee& guarantee);

/// One policy of the path that was tested for a certificate. The policies of a path differ only in
/// their thresholds.
struct PathStep {
  Thresholds thresholds;     ///< [K - 1]
  std::int64_t counted = 0;  ///< certify images that are harmed, or classified differently
  double accuracy = 0;       ///< accuracy on the tune images
  double relative_cost = 0;  ///< mean relative cost of the tune images
  /// Certify images that are classified differently; only if the guarantee has a
  /// DisagreementBound.
  std::optional<std::int64_t> disagreed = {};
  bool operator==(const PathStep&) const = default;
};

/// The largest number of certified steps of a path that a model file stores.
inline constexpr std::size_t kMaxPathSteps = 200;

/// The policies that were tested for a certificate, in the order of the tests: from each step to
/// the next a threshold decreases, so images stop earlier. Steps 0 … `chosen` are all certified, so
/// a server may use any of them. The step after `chosen`, if there is one, is the first that
/// failed. A long path is thinned evenly, but step 0, the chosen step and the failed one always
/// stay.
struct CertifiedPath {
  std::vector<PathStep> steps;
  std::size_t chosen = 0;  ///< index of the chosen policy in `steps`
  bool operator==(const CertifiedPath&) const = default;
};

/// The share of the tune images that stopped at each exit when the policy was chosen. Drift
/// detection compares later images with it.
struct TuneExitShares {
  std::int64_t images = 0;     ///< number of tune images
  std::vector<double> shares;  ///< [K] fractions of 1
  bool operator==(const TuneExitShares&) const = default;
};

/// The result of `offramp verify` for other code than the certified one: how often the outcome of
/// the policy differs. The rate of harm with this code is at most the guarantee's epsilon plus
/// `rho`, with probability at least 1 - (delta + alpha).
struct Verified {
  std::string precision, kernels;  ///< precision and kernels of the other code
  std::int64_t images = 0;         ///< number of images on which outcomes were compared
  /// Images for which the policy's answer or the last exit's answer differs.
  std::int64_t differing = 0;
  double alpha = 0;  ///< level of the bound
  double rho = 0;    ///< Clopper–Pearson bound of differing / images at `alpha`
  bool operator==(const Verified&) const = default;
};

/// The policy of a model and how it was chosen.
struct ChosenPolicy {
  Policy policy;
  std::optional<Aim> aim = {};  ///< no value: the aim is not recorded
  std::optional<Guarantee> guarantee = {};
  std::optional<TuneExitShares> seen = {};
  /// The tested path; only with a guarantee, from version 2 on.
  std::optional<CertifiedPath> path = {};
  /// Results of `offramp verify`; only with a guarantee, from version 2 on.
  std::vector<Verified> verified = {};
  bool operator==(const ChosenPolicy&) const = default;
};

/// Returns what the harm of a policy is counted against: the last exit, unless the policy has an
/// ensemble and a guarantee was asked for against the ensemble of all exits.
HarmReference harm_reference(const ChosenPolicy& chosen);

/// Returns [certified steps of the path] the bound of each as disagreement_bound() gives it for the
/// policy itself; empty if there is no path or no bound. All hold together.
std::vector<double> disagreement_bounds(const ChosenPolicy& chosen);

/// Checks that the parts of a policy agree with each other and with the number of exits.
/// @throws Error naming the field
void check(const ChosenPolicy& chosen, int exits);

// The following texts are for people; no program parses them.

/// Returns a text such as "stop where confidence ≥ 0.91, never", with "never" for an exit without a
/// threshold, or "every image goes to the last exit".
std::string describe(const Policy& policy);
/// Returns a text such as "harm ≤ 0.01 and answers other than the last exit's ≤ 0.0312 with
/// probability ≥ 0.95", without the second part if the guarantee has no bound of disagreement.
std::string describe(const Guarantee& guarantee);

}  // namespace offramp::policy
