#include "graph/fusion.h"

#include "core/overloaded.h"

namespace offramp::graph {

Fusion fusion_of(const Op& op) {
  return std::visit(
      core::overloaded{
          [](const BatchNorm&) { return Fusion::batch_norm; },
          [](const Add&) { return Fusion::sum; },
          [](const Relu&) { return Fusion::relu; },
          [](const core::OneOf<Relu6, Clip, Sigmoid, HardSigmoid, HardSwish, Silu, Gelu> auto&) {
            return Fusion::activation;
          },
          [](const core::OneOf<Conv, Linear, LayerNorm, Multiply, Concat, Slice, ChannelShuffle,
                               MaxPool, AvgPool, AdaptiveAvgPool, GlobalAvgPool, SpatialPyramidPool,
                               Flatten> auto&) { return Fusion::none; },
      },
      op);
}

}  // namespace offramp::graph
