#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/preprocessing.h"
#include "runtime/compiled_table.h"
#include "workflow/open_model.h"

namespace offramp::workflow {

/// An exit of a network, and what an image costs that leaves there.
struct ExitInfo {
  int exit = 1;       ///< counted from 1
  std::string after;  ///< the last unit of its segment: "layer2.1"
  std::int64_t macs = 0;
  double relative_cost = 0;
};

/// What a model file says beyond its network.
struct ModelFacts {
  std::vector<std::string> classes;
  Preprocessing preprocessing;
  std::string source;                               ///< of its training images
  std::int64_t trained = 0, tune = 0, certify = 0;  ///< images of each part
};

struct ModelInfo {
  std::string network;
  std::int64_t macs = 0, parameters = 0;  ///< of the plain network; of all
  std::vector<ExitInfo> exits;
  std::string layers;               ///< table for people, see layer_table
  std::optional<ModelFacts> facts;  ///< of a model file, not of a recipe
};

/// Describes a model file, of which no weight is copied, or the network of a recipe.
/// @param classes  of a recipe's network  @throws Error "<path>: …"
ModelInfo describe_model(const std::string& path, std::int64_t classes);

/// What a network is compiled to, and by which kernels.
struct CompiledLayers : CompiledTable {
  std::string kernels;
};

/// What the runtime compiles a model or a recipe's network to on this CPU, in the precision that it
/// would run in.
/// @param batch  images in an operation  @param options  `threads` share one operation
CompiledLayers compiled_layers(const std::string& path, std::int64_t classes, int batch,
                               const RunOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
