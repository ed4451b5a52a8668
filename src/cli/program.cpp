#include "cli/program.h"

#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <iostream>
#include <new>
#include <system_error>

#include "cli/terminal.h"
#include "core/error.h"
#include "core/version.h"

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
  app.set_version_flag("--version", fmt::format("offramp {} ({})", core::kVersion, core::kCommit));
  for (CLI::App* command : app.get_subcommands({})) add_version(*command);
}

/// Returns the innermost subcommand that was given: `fetch` for "offramp data fetch".
CLI::App* chosen_command(CLI::App& app) {
  CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return command;
}

std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return (parent == nullptr ? "" : full_name(*parent) + " ") + command.get_name();
}

/// A message that says what is wrong with a command line and which --help to read.
std::string usage_message(CLI::App& app, const CLI::ParseError& error) {
  CLI::App& command = *chosen_command(app);
  const std::string help = fmt::format("see {} --help", full_name(command));
  const std::vector<std::string> unknown = command.remaining();
  if (unknown.empty()) return fmt::format("{}; {}", error.what(), help);

  const std::string& word = unknown.front();
  const bool is_flag = word.starts_with("-");
  std::vector<std::string> known;
  if (is_flag) {
    for (const CLI::Option* option : command.get_options({}))
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  } else {
    for (const CLI::App* one : command.get_subcommands({})) known.push_back(one->get_name());
  }
  std::string what = is_flag ? "flag" : known.empty() ? "argument" : "command";
  const std::string near = core::nearest_word(word.substr(0, word.find('=')), known);
  return fmt::format("{} {} {}{}; {}", known.empty() || is_flag ? "unexpected" : "unknown", what,
                     core::quote(word),
                     near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near), help);
}

int parse_and_run(int argc, char** argv, const DeclareCommands& declare) {
  CLI::App app;
  Action action;
  declare(app, action);
  add_version(app);
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
    // std::cout has no buffer of its own, so this also sends on what a library wrote to it.
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
