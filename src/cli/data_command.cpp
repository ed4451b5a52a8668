#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>

#include "cli/command.h"
#include "cli/source_flags.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "data/contact_sheet.h"
#include "data/dataset.h"
#include "data/fetch.h"

namespace offramp::cli {
namespace {

/// The first of the skipped images with the reason, a line each, and how many more there are.
std::string describe(const std::vector<SkippedImage>& skipped) {
  constexpr std::size_t kNamed = 20;
  std::string text;
  for (std::size_t i = 0; i < std::min(kNamed, skipped.size()); ++i) {
    text += fmt::format("  {}: {}\n", printable(skipped[i].name), printable(skipped[i].reason));
  }
  if (skipped.size() > kNamed) text += fmt::format("  and {} more\n", skipped.size() - kNamed);
  return text;
}

std::vector<SkippedImage> all_skipped(const LoadedData& train, const LoadedData& test) {
  std::vector<SkippedImage> skipped = train.skipped;
  skipped.insert(skipped.end(), test.skipped.begin(), test.skipped.end());
  return skipped;
}

int import_data(const SourceFlags& flags, const std::string& output) {
  const LoadOptions options = load_options(flags);
  const LoadedData train = load_data(flags.source, Part::train, options);
  const LoadedData test = load_data(flags.source, Part::test, options);
  write_packed(output, train, test);
  const auto skipped = all_skipped(train, test);
  write_out(fmt::format("{}: {} training and {} test images of {} classes, {}x{}, {} skipped\n",
                        output, train.dataset.size(), test.dataset.size(),
                        train.dataset.classes.size(), train.dataset.width, train.dataset.height,
                        skipped.size()));
  tell(describe(skipped));
  return 0;
}

std::vector<std::int64_t> count_per_class(const Dataset& dataset) {
  std::vector<std::int64_t> counts(dataset.classes.size());
  for (const std::int64_t label : dataset.labels) ++counts[static_cast<std::size_t>(label)];
  return counts;
}

/// What `data info` says, gathered before anything is printed.
struct Summary {
  LoadedData train, test;
  bool one_size = true;  ///< the images have one size, or one was asked for
  ChannelStatistics statistics;
};

Summary summarise(const SourceFlags& flags) {
  Summary summary;
  LoadOptions options = load_options(flags);
  const auto load = [&] {
    summary.train = load_data(flags.source, Part::train, options);
    summary.test = load_data(flags.source, Part::test, options);
  };
  try {
    load();
    const Dataset& train = summary.train.dataset;
    const Dataset& test = summary.test.dataset;
    summary.one_size = train.width == test.width && train.height == test.height;
  } catch (const UsageError&) {
    if (options.width > 0) throw;
    summary.one_size = false;
    options.width = options.height = 64;
    load();
  }
  std::vector<std::int64_t> all(summary.train.dataset.labels.size());
  std::iota(all.begin(), all.end(), 0);
  summary.statistics = channel_statistics(summary.train.dataset, all);
  return summary;
}

nlohmann::ordered_json part_json(const LoadedData& part) {
  nlohmann::ordered_json skipped = nlohmann::ordered_json::array();
  for (const SkippedImage& image : part.skipped) {
    skipped.push_back({{"name", image.name}, {"reason", image.reason}});
  }
  return {{"images", part.dataset.size()},       {"min_width", part.sizes.min_width},
          {"max_width", part.sizes.max_width},   {"min_height", part.sizes.min_height},
          {"max_height", part.sizes.max_height}, {"skipped", std::move(skipped)}};
}

void print_json(const Summary& summary) {
  const Dataset& train = summary.train.dataset;
  nlohmann::ordered_json json;
  json["source"] = summary.train.source;
  json["width"] = nullptr;
  json["height"] = nullptr;
  if (summary.one_size) json["width"] = train.width, json["height"] = train.height;
  const auto train_counts = count_per_class(train);
  const auto test_counts = count_per_class(summary.test.dataset);
  json["classes"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < train.classes.size(); ++i) {
    json["classes"].push_back(
        {{"class", train.classes[i]}, {"train", train_counts[i]}, {"test", test_counts[i]}});
  }
  json["train"] = part_json(summary.train);
  json["test"] = part_json(summary.test);
  json["mean"] = summary.statistics.mean;
  json["std"] = summary.statistics.std;
  // Names come from files; bytes that are no UTF-8 must not end the program.
  write_out(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

std::string range(int low, int high) {
  return low == high ? fmt::format("{}", low) : fmt::format("{} to {}", low, high);
}

void print_text(const Summary& summary) {
  const Dataset& train = summary.train.dataset;
  SizeRange sizes = summary.train.sizes;
  sizes.add(summary.test.sizes.min_width, summary.test.sizes.min_height);
  sizes.add(summary.test.sizes.max_width, summary.test.sizes.max_height);
  const auto& mean = summary.statistics.mean;
  const auto& std = summary.statistics.std;
  std::string text = fmt::format("source   {}\n", printable(summary.train.source));
  text += fmt::format("images   {} training, {} test\n", with_commas(train.size()),
                      with_commas(summary.test.dataset.size()));
  text += fmt::format("stored   width {}, height {}\n", range(sizes.min_width, sizes.max_width),
                      range(sizes.min_height, sizes.max_height));
  text += summary.one_size ? fmt::format("loaded   {}x{}\n", train.width, train.height)
                           : "loaded   sizes differ: training needs --image-size\n";
  text += fmt::format("mean     {:.4f} {:.4f} {:.4f}\n", mean[0], mean[1], mean[2]);
  text += fmt::format("std      {:.4f} {:.4f} {:.4f}\n\n", std[0], std[1], std[2]);
  Table table({"class", "training", "test"});
  const auto train_counts = count_per_class(train);
  const auto test_counts = count_per_class(summary.test.dataset);
  for (std::size_t i = 0; i < train.classes.size(); ++i) {
    table.add(
        {printable(train.classes[i]), with_commas(train_counts[i]), with_commas(test_counts[i])});
  }
  text += table.text(may_color(stdout));
  const auto skipped = all_skipped(summary.train, summary.test);
  if (!skipped.empty()) {
    text += fmt::format("\nskipped  {} images\n{}", skipped.size(), describe(skipped));
  }
  write_out(text);
}

int show_info(const SourceFlags& flags, const std::string& sheet, bool json) {
  const Summary summary = summarise(flags);
  if (!sheet.empty()) {
    const std::vector<std::byte> png = encode_png(contact_sheet(summary.train.dataset));
    const std::span<const std::byte> part = png;
    write_file_atomic(sheet, std::span(&part, 1));
    tell(fmt::format("contact sheet of the training images: {}\n", sheet));
  }
  json ? print_json(summary) : print_text(summary);
  return 0;
}

/// One line that is drawn again on a terminal; elsewhere a line for each tenth.
class FetchPrinter {
 public:
  explicit FetchPrinter(std::string name) : name_(std::move(name)) {}

  void operator()(const FetchProgress& progress) {
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
    tell(fmt::format("{}{}: {:.1f}{} MiB{}", terminal_ ? "\r" : "", name_, received, of,
                     terminal_ ? "" : "\n"));
    open_line_ = terminal_;
  }

  /// Ends the line, so that whatever comes next starts a new one.
  void finish() {
    if (open_line_) tell("\n");
    open_line_ = false;
  }

 private:
  std::int64_t steps() const { return terminal_ ? 1000 : 10; }

  std::string name_;
  bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool open_line_ = false;
  std::int64_t printed_ = -1;
  std::int64_t last_received_ = -1;
};

int fetch_data(const std::string& name, const std::string& folder) {
  const Download download = known_download(name);
  FetchPrinter printer(download.file_name);
  try {
    const auto path =
        fetch(download, folder, [&](const FetchProgress& progress) { printer(progress); });
    printer.finish();
    write_out(path.string() + "\n");
  } catch (...) {
    printer.finish();
    throw;
  }
  return 0;
}

}  // namespace

void add_data_command(CLI::App& app, Action& action) {
  CLI::App* data = app.add_subcommand("data", "Download, import and look at labelled images");
  data->require_subcommand(1);

  CLI::App* fetch_command = data->add_subcommand("fetch", "Download an official data set");
  auto name = std::make_shared<std::string>();
  auto folder = std::make_shared<std::string>("data");
  fetch_command->add_option("name", *name, "cifar10 or cifar100")->required();
  fetch_command->add_option("--to", *folder, "Folder to download into")->capture_default_str();
  fetch_command->callback(
      [&action, name, folder] { action = [name, folder] { return fetch_data(*name, *folder); }; });

  CLI::App* import_command =
      data->add_subcommand("import", "Turn images into one file that loads in under a second");
  auto import_flags = std::make_shared<SourceFlags>();
  auto output = std::make_shared<std::string>();
  add_source_flags(*import_command, *import_flags);
  import_command->add_option("-o,--output", *output, "File to write")->required();
  import_command->callback([&action, import_flags, output] {
    action = [import_flags, output] { return import_data(*import_flags, *output); };
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
