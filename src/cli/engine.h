#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "core/predictor.h"
#include "model/model_file.h"

namespace offramp::cli {

/// Flags of every command that runs a network.
struct EngineFlags {
  int threads = 0;
  int batch = 0;  ///< 0: chosen by the command
  std::string precision = "f32";
  std::string device = "cpu";
};

/// Declares --threads, --batch, --precision and --device.
void add_engine_flags(CLI::App& command, EngineFlags& flags);

/// The engine that runs a model in this build.
/// @throws Error if this build has none; UsageError for an unknown precision or device
std::unique_ptr<Predictor> open_engine(const Model& model, const EngineFlags& flags);

/// Whose kernels that engine runs, and where: "libtorch cpu". A certificate names them.
std::string engine_name(const EngineFlags& flags);

}  // namespace offramp::cli
