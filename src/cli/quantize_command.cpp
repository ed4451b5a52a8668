#include <cstdio>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/progress.h"
#include "cli/quantize_output.h"
#include "cli/run_flags.h"
#include "cli/terminal.h"
#include "workflow/run_folder.h"

namespace offramp::cli {
namespace {

struct Flags {
  workflow::QuantizeOptions options;
  std::string model, out;
  bool json = false;
};

int run(const Flags& flags) {
  workflow::QuantizeOptions options = flags.options;
  options.model = workflow::model_path(flags.model);
  options.out = flags.out;
  const workflow::Quantized result =
      translate_option_errors([&] { return workflow::quantize(options, terminal_progress()); });
  write_stdout(flags.json ? to_json_text(options, result)
                          : to_text(options, result, may_color(stdout)));
  return 0;
}

}  // namespace

void add_quantize_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "quantize",
      "Write a deployment file in int8 or bf16, measure its accuracy, choose its policy again");
  command->add_option("model", flags->model, "Model file or run folder")->required();
  command
      ->add_option(
          "--data", flags->options.data,
          "The data set it was trained on; ranges are observed on its training images, the "
          "loss of accuracy is measured on its tune images")
      ->required();
  command->add_option("-o,--out", flags->out,
                      "The deployment file (default: beside the model, .int8.safetensors)");
  command->add_option("--precision", flags->options.precision, "int8 or bf16")
      ->capture_default_str();
  command
      ->add_option("--images", flags->options.images,
                   "Number of training images to observe ranges on, spread evenly")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option(
      "--check-images", flags->options.check_images,
      "Data set; 64 images of its test part are stored in an int8 file, so that another "
      "CPU can check its logits on them (default: tune images)");
  add_threads_flag(*command, flags->options.threads);
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
