#include "cli/source_flags.h"

#include "core/error.h"
#include "core/numbers.h"

namespace offramp::cli {
namespace {

int parse_side(std::string_view text, const std::string& whole) {
  const auto side = core::parse_number<int>(text);
  if (!side || *side < 1 || *side > 65535)
    throw UsageError(
        fmt::format("--image-size {}: expected 64 or 96x64, each from 1 to 65535", whole));
  return *side;
}

}  // namespace

ImageSize parse_image_size(const std::string& text) {
  const std::string_view all = text;
  const std::size_t cross = all.find('x');
  ImageSize size;
  size.width = parse_side(all.substr(0, cross), text);
  size.height =
      cross == std::string_view::npos ? size.width : parse_side(all.substr(cross + 1), text);
  return size;
}

void add_source_flags(CLI::App& command, SourceFlags& flags) {
  command
      .add_option("source", flags.source,
                  "CIFAR or IDX (MNIST) files, image folder or archive, packed file, or synthetic")
      ->required();
  command.add_option("--image-size", flags.image_size, "Size of all images: 64, or 96x64 (WxH)");
  command.add_option("--fit", flags.fit, "How images become that size: squeeze or crop")
      ->capture_default_str();
  command
      .add_option("--seed", flags.seed,
                  "Seed of synthetic images, and of the split of a folder that has no train and "
                  "test folders")
      ->capture_default_str();
}

data::LoadOptions load_options(const SourceFlags& flags) {
  data::LoadOptions options;
  options.fit = core::fit_from_string(flags.fit);
  options.seed = flags.seed;
  if (flags.image_size) {
    const ImageSize size = parse_image_size(*flags.image_size);
    options.width = size.width;
    options.height = size.height;
  }
  return options;
}

}  // namespace offramp::cli
