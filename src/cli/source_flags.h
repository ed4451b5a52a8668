#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>

#include "workflow/data_set.h"

namespace offramp::cli {

/// Which images, and how they are read, where no model says.
struct SourceFlags {
  std::string source;
  std::optional<std::string> image_size;
  std::string fit = "squeeze";
  std::uint64_t seed = 1;
};

/// Declares the source itself, --image-size, --fit and --seed.
void add_source_flags(CLI::App& command, SourceFlags& flags);

/// @throws UsageError naming the flag
LoadOptions load_options(const SourceFlags& flags);

}  // namespace offramp::cli
