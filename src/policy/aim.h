#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace offramp::policy {

enum class Criterion;

/// The unit in which the relative cost of an image is measured: multiply-accumulates, or time in
/// milliseconds on the machine that calibrates.
enum class CostUnit { macs, ms };

/// The answer of the network that the harm of a policy is counted against.
enum class HarmReference {
  last_exit,  ///< the last exit's own answer, as the network without early exits gives it
  ensemble,   ///< the answer of the ensemble of all exits; only for a policy with an ensemble
};

/// Aim: use the same given threshold at every early exit.
struct FixedThreshold {
  double threshold = 0;
  CostUnit cost_unit = CostUnit::macs;
  bool operator==(const FixedThreshold&) const = default;
};

/// Aim: the cheapest thresholds whose accuracy on the tune images, also when cross-validated, is at
/// most `max_drop` below a reference accuracy.
struct AccuracyDrop {
  double max_drop = 0;  ///< a fraction of 1, in [0, 1)
  /// The file name of the model whose last exit gives the reference accuracy. If it is empty, the
  /// calibrated model's own last exit gives it.
  std::string reference = {};
  CostUnit cost_unit = CostUnit::macs;
  bool operator==(const AccuracyDrop&) const = default;
};

/// Aim: thresholds whose mean relative cost on the tune images is at most `max_relative_cost`; of
/// the path that an AccuracyDrop takes, those with the highest cross-validated accuracy.
struct MaxCost {
  double max_relative_cost = 0;  ///< above 0; 1 is the cost of the plain backbone
  CostUnit cost_unit = CostUnit::macs;
  bool operator==(const MaxCost&) const = default;
};

/// Aim: the cheapest thresholds with a certificate: with probability at least 1 - `delta` over the
/// draw of the certify images, the rate of harm is at most `epsilon`. Both lie in (0, 1).
struct HarmGuarantee {
  double epsilon = 0;
  double delta = 0.05;
  /// If true, the certificate bounds the rate of images that the policy and the reference classify
  /// differently instead of the rate of harm. This needs no labels.
  bool label_free = false;
  CostUnit cost_unit = CostUnit::macs;
  HarmReference against = HarmReference::last_exit;
  bool operator==(const HarmGuarantee&) const = default;
};

/// The goal that the thresholds of a policy are chosen for.
using Aim = std::variant<FixedThreshold, AccuracyDrop, MaxCost, HarmGuarantee>;

std::string_view to_string(CostUnit unit);
CostUnit cost_unit_from_string(std::string_view word);
CostUnit cost_unit_of(const Aim& aim);

/// "last_exit" or "ensemble".
std::string_view to_string(HarmReference against);
/// @throws UsageError if `word` is not the name of a reference
HarmReference harm_reference_from_string(std::string_view word);
/// Returns "the last exit" or "the ensemble of all exits".
std::string_view describe(HarmReference against);

/// Checks that the numbers of an aim are in range for this criterion.
/// @throws UsageError "<field>: expected …, got …"
void check(const Aim& aim, Criterion criterion);

/// Returns the aim as flags of `offramp calibrate`, such as "--max-accuracy-drop 0.005". The text
/// is for people; no program parses it.
std::string describe(const Aim& aim);
/// Returns the same text, or says that the aim is not recorded, as in a policy written by hand.
std::string describe_aim(const std::optional<Aim>& aim);

/// Returns the statement that a certificate for this aim makes, such as "harm ≤ 0.01 with
/// probability ≥ 0.95", or with a second bound, "harm ≤ 0.01 and answers other than the last exit's
/// ≤ 0.0312 with probability ≥ 0.95".
/// @param disagreement_bound  bound on the rate of images whose answers disagree
std::string describe_bounds(const HarmGuarantee& aim,
                            std::optional<double> disagreement_bound = {});

}  // namespace offramp::policy
