#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/source_flags.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/file.h"
#include "data/corruption.h"
#include "data/dataset.h"

namespace offramp::cli {
namespace {

struct Flags {
  SourceFlags source;
  std::string folder, part = "test", corruption;
  int per_class = 10;
};

/// A class name as the name of a folder. It may come from a file that anyone wrote.
void check_folder_name(const std::string& name) {
  const bool plain = !name.empty() && name.front() != '.' && name.size() < 256 &&
                     std::none_of(name.begin(), name.end(), [](char c) {
                       return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
                     });
  if (!plain) throw Error("class {} cannot be the name of a folder", quote(name));
}

std::optional<Corruption> corruption_of(const Flags& flags) {
  if (flags.corruption.empty()) return std::nullopt;
  try {
    return parse_corruption(flags.corruption);
  } catch (const UsageError& error) {
    throw UsageError("--corrupt: {}", error.what());
  }
}

int run(const Flags& flags) {
  const std::optional<Corruption> corruption = corruption_of(flags);
  const LoadedData loaded =
      load_data(flags.source.source, flags.part == "test" ? Part::test : Part::train,
                load_options(flags.source));
  const Dataset& data = loaded.dataset;
  for (const std::string& name : data.classes) check_folder_name(name);
  std::vector<int> written(data.classes.size());
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const auto label = static_cast<std::size_t>(data.labels[static_cast<std::size_t>(i)]);
    if (written[label] == flags.per_class) continue;
    ++written[label];
    const auto folder = std::filesystem::path(flags.folder) / data.classes[label];
    std::filesystem::create_directories(folder);
    const auto pixels = data.image(i);
    Image image = {data.width, data.height, {pixels.begin(), pixels.end()}};
    if (corruption) image = corrupt(image, *corruption, data.hashes[static_cast<std::size_t>(i)]);
    const std::vector<std::byte> png = encode_png(image);
    const std::span<const std::byte> part = png;
    write_file_atomic(folder / fmt::format("{:05}.png", i), std::span(&part, 1));
  }
  int total = 0;
  for (const int count : written) total += count;
  write_out(fmt::format("{}: {} {} images of {} classes\n", flags.folder, total, flags.part,
                        data.classes.size()));
  return 0;
}

}  // namespace

void add_data_export_command(CLI::App& data, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      data.add_subcommand("export", "Write images as PNG files, in a folder for each class");
  add_source_flags(*command, flags->source);
  command->add_option("--to", flags->folder, "Folder to write into")->required();
  command->add_option("--per-class", flags->per_class, "Images of each class, the first ones")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--part", flags->part, "train or test")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
  command->add_option("--corrupt", flags->corruption,
                      "Spoil them: gaussian_noise, gaussian_blur, brightness or contrast, with a "
                      "severity from 1 to 5, as in contrast:3 (CIFAR-10-C)");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
