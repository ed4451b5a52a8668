#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/model_file.h"

namespace offramp::onnx {

/// How 8 bits represent a tensor of a network: scale × integer, where the integers are 0 to 255, or
/// -128 to 127 if the tensor is signed.
struct QuantisedTensor {
  float scale = 1;
  bool is_signed = false;
};

/// The tensors of a network that are stored in 8 bits, by their names.
using QuantisedTensors = std::map<std::string, QuantisedTensor, std::less<>>;

/// A weight in 8 bits: scale of the output channel × integer.
struct QuantisedWeight {
  std::vector<std::int8_t> integers;  ///< row-major, the output channel first
  std::vector<float> scales;          ///< [out], above 0
};

/// An int8 model as ONNX's QuantizeLinear and DequantizeLinear describe it.
struct QuantisedNetwork {
  /// The model, in which each batch norm that is the only reader of a convolution is part of the
  /// convolution.
  model::ModelFile model;
  std::map<std::string, QuantisedWeight, std::less<>> weights;  ///< by names of parameters
  QuantisedTensors tensors;
};

/// Folds batch norms into the 8-bit weights of convolutions; the integers stay, up to their sign.
/// @param model    an int8 deployment file
/// @param tensors  the tensors that the runtime stores in 8 bits
QuantisedNetwork quantised_network(const model::ModelFile& model, const QuantisedTensors& tensors);

}  // namespace offramp::onnx
