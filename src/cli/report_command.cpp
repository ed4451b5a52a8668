#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/progress.h"
#include "cli/run_flags.h"
#include "cli/terminal.h"
#include "core/file.h"
#include "core/text.h"
#include "report/report.h"
#include "workflow/output_file.h"
#include "workflow/report_input.h"
#include "workflow/run_folder.h"

namespace offramp::cli {
namespace {

struct Flags {
  workflow::ReportOptions options;
  std::string out;
};

int run(const Flags& flags) {
  const auto start = std::chrono::steady_clock::now();
  workflow::ReportOptions options = flags.options;
  options.command = "offramp report";
  const std::filesystem::path out = flags.out.empty() ? workflow::report_path(options.runs.front())
                                                      : std::filesystem::path(flags.out);
  std::vector<std::filesystem::path> inputs = {options.data};
  for (const std::string& one : options.runs) {
    const workflow::FoundRun found = workflow::find_run(one);
    inputs.push_back(found.model);
    for (std::filesystem::path& file : workflow::RunFolder(found.folder).files())
      inputs.push_back(std::move(file));
  }
  workflow::check_output("--out", out, inputs);
  const workflow::GatheredReport report = translate_option_errors(
      [&] { return workflow::gather_report(options, terminal_progress()); }, Advice::skip_trained);
  workflow::refuse_same_file("--out", out, {report.source});
  const std::string page = report::report_html(report.input);
  core::write_text_atomic(out, page);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  write_stdout(fmt::format("{}: {}, in {:.1f} s; open it in a browser\n", printable(out.string()),
                           core::megabytes(static_cast<std::int64_t>(page.size())), time.count()));
  return 0;
}

}  // namespace

void add_report_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "report",
      "Write an HTML page with the accuracy of a run and the exits at which its images stop");
  command
      ->add_option("runs", flags->options.runs,
                   "Run folder or model file; further ones are compared with the first")
      ->required();
  command->add_option("-o,--out", flags->out, "The page (default: report.html in the run folder)");
  command->add_option("--data", flags->options.data, "Images (default: those of the run's recipe)");
  command->add_flag("--skip-trained", flags->options.skip_trained,
                    "Leave out images that the model was trained on instead of refusing");
  add_run_flags(*command, flags->options.run);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
