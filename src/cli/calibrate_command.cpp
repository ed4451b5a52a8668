#include <cstdio>
#include <memory>

#include "cli/calibrate_flags.h"
#include "cli/calibrate_output.h"
#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/progress.h"
#include "cli/run_flags.h"
#include "cli/terminal.h"
#include "policy/criteria.h"

namespace offramp::cli {
namespace {

int run(const CalibrateFlags& flags) {
  const workflow::CalibrateOptions options = calibrate_options(flags);
  const workflow::Calibration result =
      translate_option_errors([&] { return workflow::calibrate(options, terminal_progress()); });
  write_stdout(flags.json ? to_json_text(options, result)
                          : to_text(options, result, may_color(stdout)));
  return 0;
}

void add_aims(CLI::App& command, CalibrateFlags& flags) {
  command.add_option("--threshold", flags.threshold, "Use this threshold at every early exit");
  command.add_option(
      "--max-accuracy-drop", flags.max_accuracy_drop,
      "Choose the lowest cost at which the accuracy on tune is at most this far below the last "
      "exit's, for example 0.005");
  command.add_option(
      "--reference", flags.reference,
      "With --max-accuracy-drop: compare with the last exit of this model file instead");
  command.add_option(
      "--max-cost", flags.max_cost,
      "Choose the highest accuracy at a mean relative cost on tune of at most this, for "
      "example 0.5");
  command.add_option(
      "--guarantee", flags.guarantee,
      "Choose the lowest cost at which the rate of harm is certified to be at most this, "
      "for example 0.01");
  command.add_option(
      "--delta", flags.delta,
      "With --guarantee: probability that the guarantee does not hold (default: 0.05)");
  command.add_flag("--label-free", flags.label_free,
                   "With --guarantee: bound the rate of answers that differ from the last exit's");
  command
      .add_option("--against", flags.against,
                  "With --guarantee and --ensemble: count harm against the last_exit alone (the "
                  "default) or against the ensemble of all exits")
      ->check(CLI::IsMember({"last_exit", "ensemble"}));
  command.add_flag("--per-class", flags.per_class, "With --guarantee: also show the worst class");
}

}  // namespace

void add_calibrate_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<CalibrateFlags>();
  CLI::App* command = app.add_subcommand(
      "calibrate",
      "Choose at which scores a model stops early, and write this policy into its file");
  command->add_option("model", flags->model, "Model file or run folder")->required();
  command
      ->add_option("--data", flags->data,
                   "The data set it was trained on; its tune and certify images are found in it")
      ->required();
  command->add_option("-o,--out", flags->out, "Write to this file instead of the model's own");
  add_aims(*command, *flags);
  command->add_option("--criterion", flags->criterion, policy::criteria_names())
      ->capture_default_str();
  command
      ->add_option("--ensemble", flags->ensemble,
                   "Probabilities an exit answers with: off (its own), or the mean, geometric or "
                   "weighted mean of the exits so far")
      ->capture_default_str();
  command
      ->add_option("--cost", flags->cost,
                   "Unit of cost: macs, or ms measured on this machine at --batch and --threads")
      ->check(CLI::IsMember({"macs", "ms"}))
      ->capture_default_str();
  command->add_flag("--drop-useless-exits", flags->drop_useless_exits,
                    "Remove exits whose heads cost more than they save under the chosen policy");
  command->add_flag("--json", flags->json, "Print JSON");
  add_run_flags(*command, flags->run);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
