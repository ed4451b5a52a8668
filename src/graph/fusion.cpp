#include "graph/fusion.h"

#include "core/overloaded.h"

namespace offramp::graph {

Fusion fusion_of(const Op& op) {
  return std::visit(
      core::overloaded{
          [](const BatchNorm&) { return Fusion::batch_norm; },
          [](const Add&) { return Fusion::sum; },
          [](const Relu&) { return Fusion::relu; },
          [](const Relu6&) { return Fusion::relu6; },
          [](const core::OneOf<Conv, Concat, MaxPool, AvgPool, GlobalAvgPool, SpatialPyramidPool,
                               Flatten, Linear> auto&) { return Fusion::none; },
      },
      op);
}

}  // namespace offramp::graph
