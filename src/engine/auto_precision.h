#pragma once

#include <functional>
#include <string>

#include "core/tensor.h"
#include "model/model_file.h"
#include "runtime/precision.h"

namespace offramp::engine {

/// The precision that "auto" stands for.
struct AutoPrecision {
  runtime::Precision precision = runtime::Precision::f32;
  /// Whether it is f32 because the deployment file's own precision exceeded its bounds on the tune
  /// images, or was never measured.
  bool is_out_of_bounds = false;
};

/// Chooses the precision that "auto" stands for, for the library and all commands. A deployment
/// file runs in its own precision if that was measured within its bounds, else in f32. Any other
/// file runs in the precision that its guarantee was certified in; without a guarantee, in bf16 if
/// all its convolution weights are stored in bf16, else in f32.
/// @param stored  returns the type of a parameter in the file
AutoPrecision auto_precision(const model::ModelFile& model,
                             const std::function<core::DType(const std::string&)>& stored);

}  // namespace offramp::engine
