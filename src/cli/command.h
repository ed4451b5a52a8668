#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace offramp::cli {

/// What the chosen command does once flags are parsed; returns the exit status. Errors are thrown:
/// main prints them as one line on standard error and chooses the status (Error 1, UsageError 2).
using Action = std::function<int()>;

// One function a command, each in a file of its own: declares the flags, and on being chosen sets
// `action`.
void add_data_command(CLI::App& app, Action& action);
/// A subcommand of data.
void add_data_export_command(CLI::App& data, Action& action);
void add_test_command(CLI::App& app, Action& action);
void add_classify_command(CLI::App& app, Action& action);
void add_calibrate_command(CLI::App& app, Action& action);
void add_report_command(CLI::App& app, Action& action);
void add_quantize_command(CLI::App& app, Action& action);
void add_bench_command(CLI::App& app, Action& action);
void add_info_command(CLI::App& app, Action& action);

}  // namespace offramp::cli
