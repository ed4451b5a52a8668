#pragma once

#include <functional>
#include <string>

#include "core/tensor.h"
#include "model/model_file.h"
#include "runtime/precision.h"

namespace offramp::engine {

/// What a model runs in where nobody asks for a precision.
struct AutoPrecision {
  Precision precision = Precision::f32;
  /// It is f32 because the deployment's own precision lost more on tune than it may.
  bool is_out_of_bounds = false;
};

/// The rule, for the library and all commands: a deployment file's own precision within its bounds,
/// else f32; without a deployment what its guarantee was certified in, else what its convolutions
/// are stored in.
/// @param stored  the type that a parameter has in the file
AutoPrecision auto_precision(const ModelFile& model,
                             const std::function<DType(const std::string&)>& stored);

}  // namespace offramp::engine
