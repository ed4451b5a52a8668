#pragma once

#include <memory>
#include <string>

#include "core/predictor.h"
#include "model/model_file.h"
#include "recipe/recipe.h"

namespace offramp::train {

struct TorchPredictorOptions {
  int threads = 0;  ///< 0: all cores
  PrecisionChoice precision = PrecisionChoice::f32;
  std::string device = "cpu";
};

/// A Predictor on LibTorch. Sets LibTorch's number of threads for the whole process.
/// @throws UsageError if the device is not there, Error if LibTorch fails
std::unique_ptr<Predictor> make_torch_predictor(const ModelFile& model,
                                                const TorchPredictorOptions& options);

}  // namespace offramp::train
