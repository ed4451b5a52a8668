#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/calibration.h"
#include "cli/policy_flags.h"
#include "core/error.h"

namespace offramp::cli {
namespace {

void check_number(const char* flag, std::optional<double> value, const char* expected,
                  bool (*fits)(double)) {
  if (value && !fits(*value)) throw UsageError("{}: expected {}, got {}", flag, expected, *value);
}

/// A file's name as a model file can keep it.
std::string name_to_keep(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  try {
    static_cast<void>(nlohmann::json(name).dump());
    return name;
  } catch (const nlohmann::json::exception&) {
    return "?";  // bytes that are no UTF-8
  }
}

}  // namespace

void check(const CalibrateFlags& flags) {
  const int aims = flags.threshold.has_value() + flags.max_accuracy_drop.has_value() +
                   flags.max_cost.has_value() + flags.guarantee.has_value();
  if (aims != 1)
    throw UsageError(
        "calibrate: give one of --threshold, --max-accuracy-drop, --max-cost and --guarantee, got "
        "{}",
        aims == 0 ? "none" : std::to_string(aims));
  const auto open_rate = [](double x) { return x > 0 && x < 1; };
  const Criterion criterion = criterion_from_string(flags.criterion);
  if (flags.threshold) check_threshold_flag(criterion, *flags.threshold);
  ensemble_from_string(flags.ensemble);
  check_number("--max-accuracy-drop", flags.max_accuracy_drop,
               "a fraction of 1 (0.005 is half a point)", [](double x) { return x >= 0 && x < 1; });
  check_number("--max-cost", flags.max_cost, "a relative cost above 0",
               [](double x) { return x > 0 && std::isfinite(x); });
  check_number("--guarantee", flags.guarantee, "a rate between 0 and 1", open_rate);
  check_number("--delta", flags.delta, "a probability between 0 and 1", open_rate);
  const auto only_for = [](bool given, const char* flag, bool aim, const char* what) {
    if (given && !aim) throw UsageError("{}: is for {} only", flag, what);
  };
  only_for(!flags.reference.empty(), "--reference", flags.max_accuracy_drop.has_value(),
           "--max-accuracy-drop");
  only_for(flags.delta.has_value(), "--delta", flags.guarantee.has_value(), "--guarantee");
  only_for(flags.label_free, "--label-free", flags.guarantee.has_value(), "--guarantee");
  only_for(flags.per_class, "--per-class", flags.guarantee.has_value(), "--guarantee");
  if (flags.engine.tune && flags.guarantee)
    throw UsageError(
        "--tune: excludes --guarantee: which kernels a machine chooses, and with them the logits, "
        "is not certain");
}

Aim aim_of(const CalibrateFlags& flags) {
  const CostUnit unit = cost_unit_from_string(flags.cost);
  if (flags.threshold) return FixedThreshold{*flags.threshold, unit};
  if (flags.max_accuracy_drop)
    return AccuracyDrop{*flags.max_accuracy_drop,
                        flags.reference.empty() ? "" : name_to_keep(flags.reference), unit};
  if (flags.max_cost) return MaxCost{*flags.max_cost, unit};
  return HarmGuarantee{flags.guarantee.value(), flags.level(), flags.label_free, unit};
}

void set_aim(const Aim& aim, CalibrateFlags& flags) {
  flags.cost = to_string(cost_unit_of(aim));
  if (const auto* of = std::get_if<FixedThreshold>(&aim)) flags.threshold = of->threshold;
  if (const auto* of = std::get_if<AccuracyDrop>(&aim)) flags.max_accuracy_drop = of->max_drop;
  if (const auto* of = std::get_if<MaxCost>(&aim)) flags.max_cost = of->max_relative_cost;
  if (const auto* of = std::get_if<HarmGuarantee>(&aim)) {
    flags.guarantee = of->epsilon;
    flags.delta = of->delta;
    flags.label_free = of->label_free;
  }
}

}  // namespace offramp::cli
