#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace offramp::graph {

struct HeadOptions;

// Functions for writing backbones and heads. The functions that take `nodes` append nodes to it and
// return the name of the last one, which is the name of the resulting tensor.

/// Appends one operation.
std::string append(std::vector<Node>& nodes, std::string name, Op op,
                   std::vector<std::string> inputs);

/// Appends a convolution and its batch norm.
std::string append_conv_norm(std::vector<Node>& nodes, const std::string& conv_name,
                             const std::string& norm_name, const Conv& conv,
                             const std::string& input);

/// Appends a backbone's own classifier, "avgpool" and "fc". Every backbone must use these names:
/// "fc" is skipped when weights of a network with other classes are loaded.
std::string append_classifier(std::vector<Node>& nodes, const std::string& feature,
                              std::int64_t classes);

/// Appends a head for a very early exit, whose feature needs one more convolution: a 3×3
/// convolution with stride 2, batch norm, ReLU, `pool` and a linear layer. The convolution has as
/// many output channels as the feature. With its stride it costs a quarter of a 3×3 convolution at
/// that place, less than 2 % of a ResNet-18.
void append_conv_head(Segment& segment, const Shape& feature, const HeadOptions& options, Op pool);

/// Makes a segment of `nodes`. The output of the last node is its only output and the feature that
/// a head reads.
Segment make_segment(std::string name, std::vector<Node> nodes);

}  // namespace offramp::graph
