#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "core/predictor.h"
#include "model/model_file.h"
#include "runtime/precision.h"

namespace offramp::cli {

/// Flags of every command that runs a network.
struct EngineFlags {
  int threads = 0;
  int batch = 0;          ///< 0: chosen by the command
  std::string engine;     ///< empty: the runtime, or LibTorch where the device is not the CPU
  std::string precision;  ///< empty: "auto"
  std::string device = "cpu";
};

/// Declares --threads, --batch, --engine, --precision and --device.
void add_engine_flags(CLI::App& command, EngineFlags& flags);

/// What runs a model, as flags, build and CPU decide.
struct Engine {
  std::string precision;  ///< that is computed in: another than was asked for on some CPUs
  std::string kernels;    ///< "onednn 2.6.3 avx512_core_bf16", "libtorch cpu"; a certificate's name
};

/// The precision that a word of a command line means for a model; an empty one is "auto", see
/// auto_precision. @throws UsageError naming the nearest
Precision precision_for(const ModelFile& model, const std::string& word);

/// @throws UsageError for an engine, precision or device that does not exist, or not together;
///         Error if this build has no such engine
Engine engine_for(const ModelFile& model, const EngineFlags& flags);

/// Opens the engine for a model. A precision that the CPU has no instructions for gives way to the
/// next wider one, said once on standard error.
/// @throws as engine_for; Error if the engine cannot run the model
std::unique_ptr<Predictor> open_engine(const ModelFile& model, const EngineFlags& flags);

}  // namespace offramp::cli
