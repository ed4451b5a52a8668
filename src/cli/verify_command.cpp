#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/progress.h"
#include "cli/run_flags.h"
#include "cli/terminal.h"
#include "cli/verify_output.h"

namespace offramp::cli {
namespace {

struct Flags {
  workflow::VerifyOptions options;
  std::string model, logits;
  bool json = false;
};

int run(const Flags& flags) {
  workflow::VerifyOptions options = flags.options;
  options.model = flags.model;
  options.logits = flags.logits;
  options.command = fmt::format("offramp verify {} --data {}", flags.model, options.data);
  const workflow::Verification result = translate_option_errors(
      [&] { return workflow::verify(options, terminal_progress()); }, Advice::skip_trained);
  write_stdout(flags.json ? to_json_text(options, result) : to_text(options, result));
  return 0;
}

}  // namespace

void add_verify_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("verify", "Tell whether a model's certificate is in force on this CPU");
  command->add_option("model", flags->model, "Model file with a certificate")->required();
  command
      ->add_option("--data", flags->options.data,
                   "Images like those that the model is used for; their test part is taken")
      ->required();
  command->add_option(
      "--logits", flags->logits,
      "Logits of the same images, saved where the certificate is in force (offramp test "
      "--save-logits), to bound the difference; mainly for f32 and bf16");
  command
      ->add_option("--alpha", flags->options.alpha,
                   "Probability that the bound of the difference is wrong, added to delta")
      ->capture_default_str();
  command->add_flag("--skip-trained", flags->options.skip_trained,
                    "Leave out images that the model was trained on instead of refusing");
  command->add_flag("--json", flags->json, "Print JSON");
  add_run_flags(*command, flags->options.run);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
