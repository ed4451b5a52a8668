#pragma once

#include <memory>
#include <string>

#include "core/predictor.h"
#include "model/model_file.h"
#include "recipe/recipe.h"
#include "train/network.h"

namespace offramp::train {

struct TorchPredictorOptions {
  int threads = 0;  ///< 0: all cores
  PrecisionChoice precision = PrecisionChoice::f32;
  std::string device = "cpu";
};

/// A Predictor on a network that is being trained: what it answers follows the network's weights.
/// @param network  must outlive the result
std::unique_ptr<Predictor> make_torch_predictor(TorchNetwork& network,
                                                const TorchNetwork::Mode& mode);

/// A Predictor on LibTorch. Sets LibTorch's number of threads for the whole process.
/// @throws UsageError if the device is not there, Error if LibTorch fails
std::unique_ptr<Predictor> make_torch_predictor(const ModelFile& model,
                                                const TorchPredictorOptions& options);

}  // namespace offramp::train
