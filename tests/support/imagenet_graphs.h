#pragma once

#include "graph/graph.h"

namespace offramp {

// Networks of torchvision as Graphs, with torchvision's names of parameters: what an import gives.
// All have 1000 classes and one segment.

/// @param side  side of the images: 224 as published
graph::Graph resnet50_graph(int side);
graph::Graph mobilenet_v3_large_graph(int side);
graph::Graph efficientnet_b0_graph(int side);
graph::Graph shufflenet_v2_graph(int side);

}  // namespace offramp
