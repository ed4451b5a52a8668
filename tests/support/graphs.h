#pragma once

#include <vector>

#include "graph/graph.h"

namespace offramp {

// Small networks for the parity tests of all readers of a graph. Together they use every operation.
// Their input sizes are small, and odd where the network allows it.

/// ResNet-18 of width 4, 3 exits with spp heads, 3×32×32, 10 classes.
graph::Graph small_resnet();
/// VGG of width 4, 3 exits with conv-spp heads, 3×37×32, 7 classes.
graph::Graph small_vgg();
/// Depthwise-separable network of width 8, 3 exits with conv-avg heads, 1×32×32, 10 classes.
graph::Graph small_mobilenet();
/// Network with two scales, as in Multi-Scale Dense Networks (Huang et al., 2018). Its segments
/// pass on several tensors, and one tensor passes through a segment that does not use it. 3×13×11,
/// 5 classes, 3 exits.
graph::Graph two_scale();
/// Network of the operations that imported networks have: squeeze and excitation, a shuffle unit,
/// an inverted bottleneck with a layer norm, pools that round up. 3×15×14, 6 classes, 3 exits.
graph::Graph small_import();

/// Returns all networks above.
std::vector<graph::Graph> example_graphs();

}  // namespace offramp
