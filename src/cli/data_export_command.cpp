#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/flag_names.h"
#include "cli/source_flags.h"
#include "cli/terminal.h"
#include "workflow/data_set.h"

namespace offramp::cli {
namespace {

struct Flags {
  SourceFlags source;
  workflow::ExportOptions options;
  std::string folder, part = "test";
};

int run(const Flags& flags) {
  workflow::ExportOptions options = flags.options;
  options.source = flags.source.source;
  options.load = load_options(flags.source);
  options.folder = flags.folder;
  options.part = flags.part == "test" ? data::Part::test : data::Part::train;
  const workflow::ExportResult result =
      translate_option_errors([&] { return workflow::export_images(options); });
  write_stdout(fmt::format("{}: {} {} images of {} classes\n", printable(flags.folder),
                           result.images, flags.part, result.classes));
  return 0;
}

}  // namespace

void add_data_export_command(CLI::App& data, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      data.add_subcommand("export", "Write images as PNG files, in a folder for each class");
  add_source_flags(*command, flags->source);
  command->add_option("-o,--out", flags->folder, "Folder to write into")->required();
  command
      ->add_option("--per-class", flags->options.per_class,
                   "Number of images to write of each class, the first ones")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--part", flags->part, "train or test")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
  command->add_option(
      "--corrupt", flags->options.corruption,
      "Corrupt the images: gaussian_noise, gaussian_blur, brightness or contrast, with a "
      "severity from 1 to 5, as in contrast:3 (CIFAR-10-C)");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
