#include "cli/program.h"

#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <new>
#include <system_error>

#include "cli/help_format.h"
#include "cli/terminal.h"
#include "cli/usage_message.h"
#include "core/error.h"
#include "core/version.h"
#include "workflow/model_info.h"

namespace offramp::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

/// Prints a message on standard error as one line: newlines in it become spaces, and what a
/// terminal would execute is replaced.
/// @return `status`
int print_error_line(std::string message, int status) {
  for (char& c : message)
    if (c == '\n' || c == '\r') c = ' ';
  write_stderr(fmt::format("offramp: {}\n", printable(message)));
  return status;
}

void add_version(CLI::App& app) {
  app.set_version_flag("--version", [] {
    return fmt::format("offramp {} ({}), {}", core::kVersion, core::kCommit,
                       workflow::kernels_on_this_cpu());
  });
  for (CLI::App* command : app.get_subcommands({})) add_version(*command);
}

int parse_and_run(int argc, char** argv, const DeclareCommands& declare) {
  CLI::App app;
  app.formatter(std::make_shared<HelpFormat>());  // the commands take it over
  Action action;
  declare(app, action);
  add_version(app);
  require_decimal_numbers(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return print_error_line(usage_message(app, error), kWrongUsage);
  }
  if (!action) {
    std::cerr << app.help();
    return kWrongUsage;
  }
  return action();
}

}  // namespace

int run_reporting_errors(const Action& work) {
  // Without the signal, writing to a closed pipe returns an error, which the code below handles.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    open_standard_streams();
    const int status = work();
    // std::cout has no buffer of its own, so this also flushes what a library wrote to it.
    flush_stdout();
    return status;
  } catch (const UsageError& error) {
    return print_error_line(error.what(), kWrongUsage);
  } catch (const Error& error) {
    return print_error_line(error.what(), kFailed);
  } catch (const std::bad_alloc&) {
    return print_error_line("out of memory", kFailed);
  } catch (const std::filesystem::filesystem_error& error) {
    return print_error_line(fmt::format("{}: {}", error.path1().string(), error.code().message()),
                            kFailed);
  } catch (const OutputLost& error) {
    // The reader of standard output ended first, as in `offramp info ... | head`. That needs no
    // message.
    if (error.code() == std::errc::broken_pipe) return kFailed;
    return print_error_line(fmt::format("standard output: {}", error.code().message()), kFailed);
  } catch (const std::exception& error) {
    return print_error_line(fmt::format("internal error: {}", error.what()), kFailed);
  }
}

int run_program(int argc, char** argv, const DeclareCommands& declare) {
  return run_reporting_errors([&] { return parse_and_run(argc, argv, declare); });
}

}  // namespace offramp::cli
