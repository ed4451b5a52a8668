#include "policy/aim.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "core/overloaded.h"
#include "policy/criteria.h"

namespace offramp::policy {
namespace {

void check_field(bool fits, std::string_view field, std::string_view expected, double value) {
  if (!fits) throw UsageError(fmt::format("{}: expected {}, got {}", field, expected, value));
}

bool is_open_rate(double x) { return x > 0 && x < 1; }

}  // namespace

std::string_view to_string(CostUnit unit) { return unit == CostUnit::macs ? "macs" : "ms"; }

CostUnit cost_unit_from_string(std::string_view word) {
  for (const CostUnit unit : {CostUnit::macs, CostUnit::ms})
    if (to_string(unit) == word) return unit;
  throw UsageError(fmt::format("unknown cost unit {}; known: macs, ms", core::quote(word)));
}

std::string_view to_string(HarmReference against) {
  return against == HarmReference::last_exit ? "last_exit" : "ensemble";
}

HarmReference harm_reference_from_string(std::string_view word) {
  for (const HarmReference against : {HarmReference::last_exit, HarmReference::ensemble})
    if (to_string(against) == word) return against;
  throw UsageError(
      fmt::format("against: expected last_exit or ensemble, got {}", core::quote(word)));
}

std::string_view describe(HarmReference against) {
  return against == HarmReference::last_exit ? "the last exit" : "the ensemble of all exits";
}

CostUnit cost_unit_of(const Aim& aim) {
  return std::visit([](const auto& of) { return of.cost_unit; }, aim);
}

void check(const Aim& aim, Criterion criterion) {
  std::visit(
      core::overloaded{
          [&](const FixedThreshold& of) {
            try {
              check_threshold(criterion, of.threshold);
            } catch (const Error& error) {
              core::throw_with_place("threshold", error);
            }
          },
          [](const AccuracyDrop& of) {
            check_field(of.max_drop >= 0 && of.max_drop < 1, "max_drop",
                        "a fraction of 1 (0.005 is half a point)", of.max_drop);
          },
          [](const MaxCost& of) {
            check_field(of.max_relative_cost > 0 && std::isfinite(of.max_relative_cost),
                        "max_relative_cost", "a relative cost above 0", of.max_relative_cost);
          },
          [](const HarmGuarantee& of) {
            check_field(is_open_rate(of.epsilon), "epsilon", "a rate between 0 and 1", of.epsilon);
            check_field(is_open_rate(of.delta), "delta", "a probability between 0 and 1", of.delta);
          },
      },
      aim);
}

std::string describe(const Aim& aim) {
  std::string text = std::visit(
      core::overloaded{
          [](const FixedThreshold& of) { return fmt::format("--threshold {}", of.threshold); },
          [](const AccuracyDrop& of) {
            return fmt::format("--max-accuracy-drop {}{}", of.max_drop,
                               of.reference.empty() ? "" : " --reference " + of.reference);
          },
          [](const MaxCost& of) { return fmt::format("--max-cost {}", of.max_relative_cost); },
          [](const HarmGuarantee& of) {
            return fmt::format("--guarantee {} --delta {}{}{}", of.epsilon, of.delta,
                               of.label_free ? " --label-free" : "",
                               of.against == HarmReference::ensemble ? " --against ensemble" : "");
          },
      },
      aim);
  if (const CostUnit unit = cost_unit_of(aim); unit != CostUnit::macs)
    text += fmt::format(" --cost {}", to_string(unit));
  return text;
}

std::string describe_aim(const std::optional<Aim>& aim) {
  return aim ? describe(*aim) : "an aim that is not recorded";
}

std::string describe_bounds(const HarmGuarantee& aim, std::optional<double> disagreement_bound) {
  const bool ensemble = aim.against == HarmReference::ensemble;
  const std::string_view harm = ensemble ? "harm against the ensemble of all exits" : "harm";
  const std::string_view others = ensemble ? "answers other than those of the ensemble of all exits"
                                           : "answers other than the last exit's";
  std::string text = fmt::format("{} ≤ {:g}", aim.label_free ? others : harm, aim.epsilon);
  if (disagreement_bound) text += fmt::format(" and {} ≤ {:.3g}", others, *disagreement_bound);
  return text + fmt::format(" with probability ≥ {:.6g}", 1 - aim.delta);
}

}  // namespace offramp::policy
