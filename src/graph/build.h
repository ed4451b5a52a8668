#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace offramp {

struct HeadOptions;

// What backbones and heads are written with. All of them append nodes to `nodes` and return the
// name of the last one: the tensor to go on from.

/// Appends one operation.
std::string append(std::vector<Node>& nodes, std::string name, Op op,
                   std::vector<std::string> inputs);

/// Appends a convolution and its batch norm.
std::string append_conv_norm(std::vector<Node>& nodes, const std::string& conv_name,
                             const std::string& norm_name, const Conv& conv,
                             const std::string& input);

/// Appends a backbone's own classifier, "avgpool" and "fc". Every backbone names it so: "fc" is
/// what is left out when weights of a network with other classes are loaded.
std::string append_classifier(std::vector<Node>& nodes, const std::string& feature,
                              std::int64_t classes);

/// Appends the head of an exit so early that its feature needs one more convolution: a strided 3×3
/// convolution with batch norm and ReLU, `pool`, and a linear layer. As many channels as the
/// feature has and a stride of 2 keep it at a quarter of a 3×3 convolution there, under 2 % of a
/// ResNet-18.
void append_conv_head(Segment& segment, const Shape& feature, const HeadOptions& options, Op pool);

/// Turns `nodes` into a unit whose only result is its last node: handed on, and read by heads.
Segment unit(std::string name, std::vector<Node> nodes);

}  // namespace offramp
