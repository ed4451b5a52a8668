#include "cli/calibrate_flags.h"

#include "cli/flag_names.h"
#include "core/error.h"
#include "workflow/run_folder.h"

namespace offramp::cli {
namespace {

policy::Aim aim_of(const CalibrateFlags& flags) {
  const policy::CostUnit unit = policy::cost_unit_from_string(flags.cost);
  if (flags.threshold) return policy::FixedThreshold{*flags.threshold, unit};
  if (flags.max_accuracy_drop) return policy::AccuracyDrop{*flags.max_accuracy_drop, {}, unit};
  if (flags.max_cost) return policy::MaxCost{*flags.max_cost, unit};
  policy::HarmGuarantee aim{*flags.guarantee};
  if (flags.delta) aim.delta = *flags.delta;
  aim.label_free = flags.label_free;
  if (flags.against) aim.against = policy::harm_reference_from_string(*flags.against);
  aim.cost_unit = unit;
  return aim;
}

}  // namespace

workflow::CalibrateOptions calibrate_options(const CalibrateFlags& flags) {
  const int aims = flags.threshold.has_value() + flags.max_accuracy_drop.has_value() +
                   flags.max_cost.has_value() + flags.guarantee.has_value();
  if (aims != 1)
    throw UsageError(fmt::format(
        "calibrate: give one of --threshold, --max-accuracy-drop, --max-cost and --guarantee, got "
        "{}",
        aims == 0 ? "none" : std::to_string(aims)));
  workflow::CalibrateOptions options;
  options.shape = {policy::criterion_from_string(flags.criterion),
                   policy::ensemble_from_string(flags.ensemble)};
  options.aim = aim_of(flags);
  translate_option_errors([&] { check(options.aim, options.shape.criterion); });
  const auto check_needed_flag = [](bool given, const char* flag, bool aim, const char* what) {
    if (given && !aim) throw UsageError(fmt::format("{}: needs {}", flag, what));
  };
  check_needed_flag(!flags.reference.empty(), "--reference", flags.max_accuracy_drop.has_value(),
                    "--max-accuracy-drop");
  check_needed_flag(flags.delta.has_value(), "--delta", flags.guarantee.has_value(), "--guarantee");
  check_needed_flag(flags.label_free, "--label-free", flags.guarantee.has_value(), "--guarantee");
  check_needed_flag(flags.against.has_value(), "--against", flags.guarantee.has_value(),
                    "--guarantee");
  check_needed_flag(flags.against == "ensemble", "--against ensemble",
                    options.shape.ensemble != policy::Ensemble::off, "--ensemble");
  check_needed_flag(flags.per_class, "--per-class", flags.guarantee.has_value(), "--guarantee");
  options.model = workflow::model_path(flags.model);
  options.data = flags.data;
  options.out = flags.out;
  if (!flags.reference.empty()) options.reference = workflow::model_path(flags.reference);
  options.worst_class = flags.per_class;
  options.drop_useless_exits = flags.drop_useless_exits;
  options.run = flags.run;
  return options;
}

}  // namespace offramp::cli
