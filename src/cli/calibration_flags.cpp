#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/calibration.h"
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
  if (criterion_from_string(flags.criterion) == Criterion::patience)
    check_number("--threshold", flags.threshold, "a number of exits that agree, from 1",
                 [](double x) { return x >= 1 && x <= 1000 && x == std::floor(x); });
  else
    check_number("--threshold", flags.threshold, "a score from 0 to 1",
                 [](double x) { return x >= 0 && x <= 1; });
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
}

std::string aim_text(const CalibrateFlags& flags) {
  std::string text;
  if (flags.threshold) text = fmt::format("--threshold {}", *flags.threshold);
  if (flags.max_accuracy_drop) {
    text = fmt::format("--max-accuracy-drop {}", *flags.max_accuracy_drop);
    if (!flags.reference.empty()) text += " --reference " + name_to_keep(flags.reference);
  }
  if (flags.max_cost) text = fmt::format("--max-cost {}", *flags.max_cost);
  if (flags.guarantee)
    text = fmt::format("--guarantee {} --delta {}{}", *flags.guarantee, flags.level(),
                       flags.label_free ? " --label-free" : "");
  if (flags.cost != "macs") text += " --cost " + flags.cost;
  return text;
}

}  // namespace offramp::cli
