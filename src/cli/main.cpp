#include <string_view>

#include "cli/command.h"
#include "cli/program.h"
#ifdef OFFRAMP_SERVE
#include "cli/serve_command.h"
#endif
#include "cli/start_training.h"

namespace {

void declare_commands(CLI::App& app, offramp::cli::Action& action) {
  using namespace offramp::cli;
  app.name("offramp");
  app.description("Train, test and run early-exit image classifiers");
  app.require_subcommand(0, 1);
  add_data_command(app, action);
  // Declared for --help only: main() starts offramp-train before the command line is parsed.
  app.add_subcommand("train", "Train a network from a recipe");
  app.add_subcommand("exits", "Add early exits to a trained network where they save most");
  add_test_command(app, action);
  add_classify_command(app, action);
  add_calibrate_command(app, action);
  add_report_command(app, action);
  add_quantize_command(app, action);
  add_verify_command(app, action);
  add_bench_command(app, action);
  add_import_command(app, action);
  add_export_command(app, action);
  add_info_command(app, action);
  add_completion_command(app, action);
#ifdef OFFRAMP_SERVE
  add_serve_command(app, action);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && (argv[1] == std::string_view("train") || argv[1] == std::string_view("exits")))
    return offramp::cli::run_reporting_errors(
        [&]() -> int { offramp::cli::start_training(argv + 1); });
  return offramp::cli::run_program(argc, argv, declare_commands);
}
