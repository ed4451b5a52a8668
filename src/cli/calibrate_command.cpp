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
      naming_flags([&] { return workflow::calibrate(options, terminal_progress()); });
  write_out(flags.json ? to_json_text(options, result)
                       : to_text(options, result, may_color(stdout)));
  return 0;
}

void add_aims(CLI::App& command, CalibrateFlags& flags) {
  command.add_option("--threshold", flags.threshold, "This threshold at every early exit");
  command.add_option("--max-accuracy-drop", flags.max_accuracy_drop,
                     "Boldest within this much of the last exit's accuracy on tune: 0.005");
  command.add_option("--reference", flags.reference,
                     "With --max-accuracy-drop: measure it from this model's last exit instead");
  command.add_option("--max-cost", flags.max_cost,
                     "Most accurate at this mean relative cost on tune: 0.5");
  command.add_option("--guarantee", flags.guarantee,
                     "Cheapest whose rate of harm is certified to be at most this: 0.01");
  command.add_option("--delta", flags.delta,
                     "With --guarantee: the probability that it does not hold (default: 0.05)");
  command.add_flag("--label-free", flags.label_free,
                   "With --guarantee: bound the rate of answers other than the last exit's");
  command.add_flag("--per-class", flags.per_class, "With --guarantee: also show the worst class");
}

}  // namespace

void add_calibrate_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<CalibrateFlags>();
  CLI::App* command = app.add_subcommand(
      "calibrate",
      "Choose when a model stops, with a guarantee if wanted, and write it into its file");
  command->add_option("model", flags->model, "Model file")->required();
  command
      ->add_option("--data", flags->data,
                   "The data set it was trained on; its tune and certify images are found in it")
      ->required();
  command->add_option("--out", flags->out, "Write to this file instead of the model's own");
  add_aims(*command, *flags);
  command->add_option("--criterion", flags->criterion, criteria_names())->capture_default_str();
  command
      ->add_option("--ensemble", flags->ensemble,
                   "What an exit answers with: off, or the mean, geometric or weighted mean of the "
                   "exits so far")
      ->capture_default_str();
  command
      ->add_option("--cost", flags->cost,
                   "What is saved: macs, or ms, measured here at --batch and --threads")
      ->check(CLI::IsMember({"macs", "ms"}))
      ->capture_default_str();
  command->add_flag("--drop-useless-exits", flags->drop_useless_exits,
                    "Take out exits that do not pay for their heads under what is chosen");
  command->add_flag("--json", flags->json, "Print JSON");
  add_run_flags(*command, flags->run);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
