#pragma once

#include <memory>
#include <string>

#include "core/predictor.h"
#include "model/model_file.h"
#include "recipe/recipe.h"
#include "train/network.h"

namespace offramp::train {

/// Options of a predictor that runs a model file.
struct TorchPredictorOptions {
  int threads = 0;  ///< 0: all cores
  recipe::PrecisionChoice precision = recipe::PrecisionChoice::f32;
  std::string device = "cpu";
};

/// Makes a Predictor that uses the current weights of a network in training.
/// @param network  must outlive the result
std::unique_ptr<core::Predictor> make_torch_predictor(TorchNetwork& network,
                                                      const TorchNetwork::Mode& mode);

/// Makes a Predictor that runs a model file with LibTorch. Sets LibTorch's number of threads for
/// the whole process.
/// @throws UsageError if the device does not exist, Error if LibTorch fails
std::unique_ptr<core::Predictor> make_torch_predictor(const model::ModelFile& model,
                                                      const TorchPredictorOptions& options);

}  // namespace offramp::train
