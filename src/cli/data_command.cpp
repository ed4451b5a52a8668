#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/data_output.h"
#include "cli/flag_names.h"
#include "cli/progress.h"
#include "cli/progress_line.h"
#include "cli/source_flags.h"
#include "cli/terminal.h"
#include "data/fetch.h"
#include "data/import_shards.h"
#include "workflow/data_set.h"
#include "workflow/output_file.h"

namespace offramp::cli {
namespace {

int import_data(const SourceFlags& flags, const std::string& output) {
  const workflow::DataParts parts = translate_option_errors(
      [&] { return workflow::import_data(flags.source, load_options(flags), output); });
  write_stdout(imported_text(output, parts));
  write_stderr(skipped_text(parts.skipped()));
  return 0;
}

int import_shards(const SourceFlags& flags, const std::string& folder, std::int64_t per_shard,
                  bool keep_files) {
  workflow::refuse_same_file("out", folder, {flags.source});
  const workflow::Progress progress = terminal_progress();
  const data::ImportedShards imported = translate_option_errors([&] {
    return data::import_shards(
        flags.source, folder,
        {load_options(flags), per_shard, keep_files,
         [&](auto done, auto total) { progress.step(done, total, "images"); }});
  });
  write_stdout(fmt::format(
      "{}: {} training and {} test images in {} shards, {} skipped{}\n", printable(folder),
      imported.train, imported.test, imported.shards, imported.skipped,
      imported.kept > 0 ? fmt::format("; {} shards were there already", imported.kept) : ""));
  return 0;
}

int show_info(const SourceFlags& flags, const std::string& sheet, bool json) {
  if (!sheet.empty()) workflow::check_output("--contact-sheet", sheet, {flags.source});
  const workflow::DataSummary summary = workflow::summarise_data(flags.source, load_options(flags));
  if (!sheet.empty()) {
    workflow::write_contact_sheet(summary, sheet);
    write_stderr(fmt::format("contact sheet of the training images: {}\n", printable(sheet)));
  }
  write_stdout(json ? to_json_text(summary) : to_text(summary, may_color(stdout)));
  return 0;
}

/// Shows the progress of a download: on a terminal one line that is updated in place, elsewhere a
/// new line for each tenth.
class DownloadProgressPrinter {
 public:
  explicit DownloadProgressPrinter(std::string name) : name_(std::move(name)) {}

  void operator()(const data::FetchProgress& progress) {
    const std::int64_t step = progress.total > 0
                                  ? std::max<std::int64_t>(1, progress.total / steps())
                                  : std::int64_t{1} << 24;
    if (progress.received / step == printed_ && progress.received != progress.total) return;
    if (progress.received == last_received_) return;
    printed_ = progress.received / step;
    last_received_ = progress.received;
    constexpr double kMiB = 1 << 20;
    const double received = static_cast<double>(progress.received) / kMiB;
    const std::string of =
        progress.total > 0 ? fmt::format(" of {:.1f}", static_cast<double>(progress.total) / kMiB)
                           : "";
    line_.draw(fmt::format("{}: {:.1f}{} MiB", name_, received, of));
  }

  /// Ends the progress line, so that the next output starts on a new line.
  void finish() { line_.finish(); }

 private:
  std::int64_t steps() const { return line_.is_terminal() ? 1000 : 10; }

  std::string name_;
  ProgressLine line_;
  std::int64_t printed_ = -1;
  std::int64_t last_received_ = -1;
};

int fetch_data(const std::string& name, const std::string& folder) {
  const data::Download download = data::known_download(name);
  DownloadProgressPrinter printer(download.file_name);
  try {
    const auto path = data::fetch(download, folder,
                                  [&](const data::FetchProgress& progress) { printer(progress); });
    printer.finish();
    write_stdout(path.string() + "\n");
  } catch (...) {
    printer.finish();
    throw;
  }
  return 0;
}

}  // namespace

void add_data_command(CLI::App& app, Action& action) {
  CLI::App* data =
      app.add_subcommand("data", "Download, import, describe and export labelled images");
  data->require_subcommand(1);

  CLI::App* fetch_command = data->add_subcommand("fetch", "Download an official data set");
  auto name = std::make_shared<std::string>();
  auto folder = std::make_shared<std::string>("data");
  fetch_command->add_option("name", *name, "cifar10 or cifar100")->required();
  fetch_command->add_option("-o,--out,--to", *folder, "Folder to download into")
      ->capture_default_str();
  fetch_command->callback(
      [&action, name, folder] { action = [name, folder] { return fetch_data(*name, *folder); }; });

  CLI::App* import_command =
      data->add_subcommand("import", "Pack images into one file that loads in under a second");
  auto import_flags = std::make_shared<SourceFlags>();
  auto output = std::make_shared<std::string>();
  auto per_shard = std::make_shared<std::int64_t>(0);
  auto keep_files = std::make_shared<bool>(false);
  add_source_flags(*import_command, *import_flags);
  import_command->add_option("-o,--out", *output, "File to write; with --per-shard a folder")
      ->required();
  CLI::Option* shards =
      import_command
          ->add_option(
              "--per-shard", *per_shard,
              "Images per file, for data larger than memory; the same command continues an "
              "interrupted import")
          ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  import_command
      ->add_flag(
          "--keep-files", *keep_files,
          "Store the JPEG, PNG, WebP and BMP files themselves, which are decoded whenever they "
          "are used, instead of pixels")
      ->needs(shards);
  import_command->callback([&action, import_flags, output, per_shard, keep_files] {
    action = [import_flags, output, per_shard, keep_files] {
      return *per_shard > 0 ? import_shards(*import_flags, *output, *per_shard, *keep_files)
                            : import_data(*import_flags, *output);
    };
  });

  CLI::App* info_command = data->add_subcommand("info", "Print counts, sizes, mean and std");
  auto info_flags = std::make_shared<SourceFlags>();
  auto sheet = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  add_source_flags(*info_command, *info_flags);
  info_command->add_option("--contact-sheet", *sheet, "PNG to draw examples of each class into");
  info_command->add_flag("--json", *json, "Print JSON");
  info_command->callback([&action, info_flags, sheet, json] {
    action = [info_flags, sheet, json] { return show_info(*info_flags, *sheet, *json); };
  });

  add_data_export_command(*data, action);
}

}  // namespace offramp::cli
