#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>

#include "workflow/data_set.h"

namespace offramp::cli {

/// Flags that name a source of images and say how its images are read. Commands without a model
/// use them; a model file states how to read its images.
struct SourceFlags {
  std::string source;
  std::optional<std::string> image_size;
  std::string fit = "squeeze";
  std::uint64_t seed = 1;
};

/// A size of images in pixels.
struct ImageSize {
  int width = 0, height = 0;
};

/// Parses the value of --image-size: "64", or "96x64" for a width of 96 and a height of 64.
/// @throws UsageError naming the flag
ImageSize parse_image_size(const std::string& text);

/// Declares the positional argument `source`, --image-size, --fit and --seed.
void add_source_flags(CLI::App& command, SourceFlags& flags);

/// Turns the flags into options for load_data.
/// @throws UsageError naming the flag whose value is invalid
data::LoadOptions load_options(const SourceFlags& flags);

}  // namespace offramp::cli
