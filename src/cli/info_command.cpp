#include <cstdio>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/info_output.h"
#include "cli/progress.h"
#include "cli/run_flags.h"
#include "cli/terminal.h"
#include "workflow/model_info.h"
#include "workflow/run_folder.h"

namespace offramp::cli {
namespace {

struct Flags {
  std::string path;
  std::int64_t classes = 10;
  bool json = false, compiled = false;
  int batch = 8;
  workflow::RunOptions run = {"auto", 1};
};

int run(const Flags& flags) {
  const std::string path = workflow::model_path(flags.path).string();
  if (flags.compiled) {
    const workflow::CompiledLayers table =
        workflow::compiled_layers(path, flags.classes, flags.batch, flags.run, terminal_progress());
    write_stdout(flags.json ? to_json_text(table) : to_text(table, may_color(stdout)));
    return 0;
  }
  const workflow::ModelInfo info = workflow::describe_model(path, flags.classes);
  write_stdout(flags.json ? to_json_text(info) : to_text(path, info, may_color(stdout)));
  return 0;
}

}  // namespace

void add_info_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("info", "Print the layers, shapes, cost and exits of a model or a recipe");
  command->add_option("file", flags->path, "Model file or run folder, or recipe (.toml)")
      ->required();
  command
      ->add_option("--classes", flags->classes,
                   "Number of classes of a recipe's network (a recipe does not state it)")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  CLI::Option* compiled = command->add_flag(
      "--compiled", flags->compiled, "Print the operations that it is compiled to on this CPU");
  command->add_option("--precision", flags->run.precision, "With --compiled: f32, bf16 or int8")
      ->needs(compiled);
  command->add_option("--batch", flags->batch, "With --compiled: images per batch")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->needs(compiled);
  add_threads_flag(*command, flags->run.threads,
                   "With --compiled: threads that share an operation; 0: all cores")
      ->capture_default_str()
      ->needs(compiled);
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
