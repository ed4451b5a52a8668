#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/bench_output.h"
#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/policy_flags.h"
#include "cli/progress.h"
#include "cli/run_flags.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "workflow/benchmark.h"
#include "workflow/run_folder.h"

namespace offramp::cli {
namespace {

struct Flags {
  workflow::BenchmarkOptions options;
  std::string model, keep;
  std::vector<std::string> precisions, modes;
  PolicyFlags policy;
  bool ceiling = false, json = false;
};

workflow::BenchmarkOptions options_of(const Flags& flags) {
  workflow::BenchmarkOptions options = flags.options;
  options.model = workflow::model_path(flags.model);
  options.keep = flags.keep;
  for (const std::string& word : flags.precisions)
    options.precisions.push_back(runtime::precision_from_string(word));
  options.policy = policy_choice(flags.policy);
  for (const std::string& word : flags.modes)
    options.modes.push_back(workflow::benchmark_mode_from_string(word));
  options.command = fmt::format("offramp bench {} --data {}", flags.model, options.data);
  return options;
}

int run(const Flags& flags) {
  if (flags.ceiling) {
    const workflow::MachineCeilings machine = workflow::measure_machine(flags.options.threads);
    write_stdout(flags.json ? to_json_text(machine.ceilings)
                            : to_text(machine.ceilings, may_color(stdout)));
    write_stderr(machine_load_warning(machine.load));
    return 0;
  }
  if (flags.model.empty()) throw UsageError("bench: give a model, or --ceiling");
  const workflow::BenchmarkOptions options = options_of(flags);
  const workflow::Benchmark result = translate_option_errors(
      [&] { return workflow::benchmark(options, terminal_progress()); }, Advice::skip_trained);
  write_stdout(flags.json ? to_json_text(result) : to_text(options, result, may_color(stdout)));
  write_stderr(machine_load_warning(result.load));
  return 0;
}

}  // namespace

void add_bench_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "bench", "Measure the speed of a model on this machine, or the peak rate of the machine");
  command->add_option("model", flags->model,
                      "Model file or run folder, or recipe (.toml) with random weights");
  command->add_option(
      "--data", flags->options.data,
      "Test images to measure speed and accuracy on (default: random images, no accuracy)");
  command
      ->add_option("--images", flags->options.images,
                   "Number of images (default: all of --data, or 512 random ones)")
      ->check(CLI::Range(1, 1 << 30));
  command
      ->add_option("--precision", flags->precisions,
                   "f32, bf16, int8 (default: all that the CPU supports; int8 needs a file written "
                   "by quantize)")
      ->delimiter(',');
  command
      ->add_option(
          "--mode", flags->modes,
          "plain: without early exits; adaptive: stops by the policy; exhaustive: runs all exits")
      ->delimiter(',')
      ->check(CLI::IsMember({"plain", "adaptive", "exhaustive"}));
  command->add_option("--batch", flags->options.batches, "Images per batch of a stream")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  add_threads_flag(*command, flags->options.threads);
  command
      ->add_option("--seconds", flags->options.seconds,
                   "Least time to measure each row, in seconds")
      ->check(CLI::Range(0.01, 86400.0))
      ->capture_default_str();
  command
      ->add_option("--classes", flags->options.classes, "Number of classes of a recipe's network")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  add_policy_flags(*command, flags->policy);
  command->add_flag("--skip-trained", flags->options.skip_trained,
                    "Leave out images that the model was trained on instead of refusing");
  command->add_option(
      "--keep", flags->keep,
      "Write the network, 64 of the images and its logits in each precision to a folder");
  command->add_flag(
      "--ceiling", flags->ceiling,
      "Measure the peak rate of the cores of this machine, in multiply-accumulates per second");
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
