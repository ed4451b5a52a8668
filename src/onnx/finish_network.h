#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "model/deployment.h"
#include "onnx/evaluator.h"
#include "onnx/network_draft.h"

namespace offramp::onnx {

/// A network made of a draft.
struct FinishedNetwork {
  graph::Graph graph;
  core::Tensors weights;
  /// The normalisation that the network applies to the image first, scale x + shift for each
  /// channel. It belongs to the preprocessing and is not part of the graph. Empty if there is none.
  std::vector<float> input_scale = {}, input_shift = {};
  /// The ranges of the image tensors that the file quantises, and of those that only pass such
  /// values on.
  model::ActivationRanges ranges = {};
};

/// Makes a plain network of a draft: one segment and its head, which begins with the last global
/// pooling or flattening. What the output does not need is left out, and multiplications and
/// additions of constants are merged into layers or become batch norms.
/// @param output    the draft of shape {classes} that gives the logits
/// @param problems  receives pieces that are part of nothing that is supported; the graph is then
///                  not complete
FinishedNetwork finish_network(NetworkDraft& network, int output, std::string name,
                               std::vector<NodeProblem>& problems);

}  // namespace offramp::onnx
