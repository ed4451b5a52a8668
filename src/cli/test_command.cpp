#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/policy_flags.h"
#include "cli/progress.h"
#include "cli/run_flags.h"
#include "cli/sweep_output.h"
#include "cli/terminal.h"
#include "cli/test_output.h"
#include "workflow/output_file.h"
#include "workflow/run_folder.h"

namespace offramp::cli {
namespace {

struct Flags {
  workflow::EvaluateOptions options;
  std::string model, data, part = "test", save_logits;
  std::vector<std::string> compare, sweep;
  PolicyFlags policy;
  bool json = false;
};

workflow::EvaluateOptions options_of(const Flags& flags) {
  workflow::EvaluateOptions options = flags.options;
  options.model = workflow::model_path(flags.model);
  options.data = flags.data;
  options.part = workflow::image_part_from_string(flags.part);
  options.policy = policy_choice(flags.policy);
  for (const std::string& one : flags.compare) options.compare.push_back(workflow::model_path(one));
  options.sweep = !flags.sweep.empty();
  options.save_logits = flags.save_logits;
  options.command = fmt::format("offramp test {} --data {}", flags.model, flags.data);
  if (flags.policy.threshold)
    options.command += fmt::format(" --threshold {} --criterion {}", *flags.policy.threshold,
                                   flags.policy.criterion);
  return options;
}

int run(const Flags& flags) {
  const workflow::EvaluateOptions options = options_of(flags);
  check_sweep_names(flags.sweep);
  for (const std::string& out : flags.sweep)
    workflow::check_output("--sweep", out, options.inputs());
  const workflow::Evaluation result = translate_option_errors(
      [&] { return workflow::evaluate(options, terminal_progress()); }, Advice::skip_trained);
  if (result.sweep) write_sweep(flags.sweep, options, result);
  write_stdout(flags.json ? to_json_text(options, result)
                          : to_text(options, result, may_color(stdout)));
  return 0;
}

}  // namespace

void add_test_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("test", "Measure every exit of a model on labelled images");
  command->add_option("model", flags->model, "Model file or run folder")->required();
  command
      ->add_option("--data", flags->data,
                   "Images: CIFAR or IDX (MNIST) files, image folder, packed file, synthetic")
      ->required();
  command->add_option("--part", flags->part, "test, or the model's own tune or certify images")
      ->check(CLI::IsMember({"test", "tune", "certify"}))
      ->capture_default_str();
  add_policy_flags(*command, flags->policy);
  command->add_option("--compare", flags->compare,
                      "Other models to compare it with, for example a plain or a narrower one");
  command->add_option(
      "--sweep", flags->sweep,
      "Write accuracy and cost for every criterion and ensemble to a .json or .csv file; "
      "thresholds are chosen on tune, and policies are replayed on logits");
  command->add_flag("--confusion", flags->options.confusion,
                    "Also print the confusion matrix of every exit");
  command->add_option("--save-logits", flags->save_logits,
                      "Write the logits of all exits and the labels to a safetensors file");
  command->add_flag("--skip-trained", flags->options.skip_trained,
                    "Leave out images that the model was trained on instead of refusing");
  command->add_flag("--json", flags->json, "Print JSON");
  add_run_flags(*command, flags->options.run);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
