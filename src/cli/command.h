#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace offramp::cli {

/// The work of the chosen command, called after the flags are parsed; returns the exit status of
/// the process. It throws errors, which run_reporting_errors prints.
using Action = std::function<int()>;

// Each function declares one command and its flags. If the user gives that command, parsing the
// command line sets `action`.
void add_data_command(CLI::App& app, Action& action);
/// Declares `offramp data export`, a subcommand of `offramp data`.
void add_data_export_command(CLI::App& data, Action& action);
void add_test_command(CLI::App& app, Action& action);
void add_classify_command(CLI::App& app, Action& action);
void add_calibrate_command(CLI::App& app, Action& action);
void add_report_command(CLI::App& app, Action& action);
void add_quantize_command(CLI::App& app, Action& action);
void add_verify_command(CLI::App& app, Action& action);
void add_bench_command(CLI::App& app, Action& action);
void add_export_command(CLI::App& app, Action& action);
void add_import_command(CLI::App& app, Action& action);
void add_info_command(CLI::App& app, Action& action);
void add_completion_command(CLI::App& app, Action& action);

}  // namespace offramp::cli
