#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "model/model_file.h"
#include "onnx/quantised_network.h"

namespace offramp::onnx {

/// The outputs of an ONNX file that is written.
enum class Form {
  /// Images stop by the model's policy: each exit is followed by an If whose second branch holds
  /// the rest of the network. One image at a time; outputs probabilities [1, classes], class [1]
  /// and exit [1], from 1.
  conditional,
  all_exits,  ///< the logits of all exits, [K, N, classes]
  plain,      ///< the logits of the last exit, [N, classes], without the other heads
};

/// @throws UsageError for an unknown word; the message lists the known ones
Form form_from_string(std::string_view word);
std::string_view to_string(Form form);

/// Makes an ONNX model (opset 17) of a model. Its input "image" [N, C, H, W] is an image of
/// the size that the model file states, with pixels (red, green, blue) in [0, 1]; mean and standard
/// deviation of the preprocessing are applied inside. bf16 weights are written as f32.
/// @param quantised  the tensors that the runtime stores in 8 bits, for an int8 model: these and
/// the weights of convolutions are written with QuantizeLinear and DequantizeLinear. Empty: the
/// network computes in f32, and 8-bit weights are written as the values that they stand for
/// @return the bytes of the file
/// @throws Error if the conditional form is asked for and the model has no policy or one exit, or
/// the file would be larger than ONNX allows (2 GB)
std::string network_as_onnx(const model::ModelFile& model, Form form,
                            const QuantisedTensors& quantised = {});

}  // namespace offramp::onnx
