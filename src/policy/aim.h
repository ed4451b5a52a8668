#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace offramp {

enum class Criterion;

/// What the relative cost of an image is counted in: multiply-accumulates, or time measured on the
/// machine that calibrates.
enum class CostUnit { macs, ms };

/// The same threshold at every early exit.
struct FixedThreshold {
  double threshold = 0;
  CostUnit cost_unit = CostUnit::macs;
  bool operator==(const FixedThreshold&) const = default;
};

/// The boldest thresholds whose accuracy on tune, held out as well, is at most `max_drop` below a
/// reference: a fraction of 1, in [0, 1).
struct AccuracyDrop {
  double max_drop = 0;
  /// The file name of the model whose last exit is the reference; empty: the model's own last exit.
  std::string reference = {};
  CostUnit cost_unit = CostUnit::macs;
  bool operator==(const AccuracyDrop&) const = default;
};

/// The most accurate thresholds whose mean relative cost on tune is at most this; above 0.
struct MaxCost {
  double max_relative_cost = 0;
  CostUnit cost_unit = CostUnit::macs;
  bool operator==(const MaxCost&) const = default;
};

/// The cheapest thresholds that are certified: with probability at least 1 - `delta` over the draw
/// of the certify images, the rate of harm is at most `epsilon`. Both lie in (0, 1).
struct HarmGuarantee {
  double epsilon = 0;
  double delta = 0.05;
  /// Bound the rate of answers other than the last exit's instead of harm; this needs no labels.
  bool label_free = false;
  CostUnit cost_unit = CostUnit::macs;
  bool operator==(const HarmGuarantee&) const = default;
};

/// What the thresholds of a policy are chosen for.
using Aim = std::variant<FixedThreshold, AccuracyDrop, MaxCost, HarmGuarantee>;

std::string_view to_string(CostUnit unit);
CostUnit cost_unit_from_string(std::string_view word);
CostUnit cost_unit_of(const Aim& aim);

/// @throws UsageError "<field>: expected …, got …" if a number makes no sense for the criterion
void check(const Aim& aim, Criterion criterion);

/// The aim as the flags of `offramp calibrate`: "--max-accuracy-drop 0.005". For people; it is
/// never read back.
std::string describe(const Aim& aim);
/// The same for an aim that may not be recorded, as in a policy that was made by hand.
std::string describe_aim(const std::optional<Aim>& aim);

/// What a certificate of this aim promises: "harm ≤ 0.01 with probability ≥ 0.95".
std::string describe_promise(const HarmGuarantee& aim);

}  // namespace offramp
