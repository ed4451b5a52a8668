#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/preprocessing.h"
#include "runtime/compiled_table.h"
#include "workflow/open_model.h"

namespace offramp::workflow {

/// An exit of a network, with the cost of an image that stops there.
struct ExitInfo {
  int exit = 1;       ///< counted from 1
  std::string after;  ///< the last unit of its segment: "layer2.1"
  std::int64_t macs = 0;
  double relative_cost = 0;
};

/// The content of a model file besides its network.
struct ModelFacts {
  std::vector<std::string> classes;
  core::Preprocessing preprocessing;
  std::string source;                               ///< source of the training images
  std::int64_t trained = 0, tune = 0, certify = 0;  ///< number of images in each part
};

/// The description of a network.
struct ModelInfo {
  std::string network;          ///< name
  std::int64_t macs = 0;        ///< MACs of the plain network
  std::int64_t parameters = 0;  ///< number of parameters of the network with all its exits
  std::vector<ExitInfo> exits;
  std::string layers;               ///< table for people, see layer_table
  std::optional<ModelFacts> facts;  ///< empty for a recipe
};

/// Describes the network of a model file or of a recipe. Weights are not copied into memory.
/// @param classes  number of classes of a recipe's network  @throws Error "<path>: …"
ModelInfo describe_model(const std::string& path, std::int64_t classes);

/// The library, version and instruction set that networks run with on this CPU, as
/// runtime::kernels_name().
std::string kernels_on_this_cpu();

/// The operations that a network is compiled to, and the kernels that execute them.
struct CompiledLayers : runtime::CompiledTable {
  std::string kernels;
};

/// Compiles a model or a recipe's network for this CPU, in the precision that it would run in.
/// @param classes  number of classes of a recipe's network  @param batch  images per operation
/// @param options  `threads` is the number of threads that compute an operation together
CompiledLayers compiled_layers(const std::string& path, std::int64_t classes, int batch,
                               const RunOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
