#pragma once

#include <vector>

#include "graph/graph.h"

namespace offramp {

// Small networks of different makes for every reader's parity tests. Between them they use every
// operation. Inputs are small and odd where that is possible.

/// ResNet-18 of width 4, 3 exits with spp heads, 3×32×32, 10 classes.
Graph small_resnet();
/// VGG of width 4, 3 exits with conv-spp heads, 3×37×32, 7 classes.
Graph small_vgg();
/// Depthwise-separable network of width 8, 3 exits with conv-avg heads, 1×32×32, 10 classes.
Graph small_mobilenet();
/// Two scales written by hand (after Huang et al., Multi-Scale Dense Networks, 2018): segments pass
/// on several tensors, one of them through a segment that does not touch it. 3×13×11, 5 classes,
/// 3 exits.
Graph two_scale();

/// All of the above.
std::vector<Graph> example_graphs();

}  // namespace offramp
