#include "graph/fusion.h"

#include "core/overloaded.h"

namespace offramp {

Fusion fusion_of(const Op& op) {
  return std::visit(
      overloaded{
          [](const BatchNorm&) { return Fusion::batch_norm; },
          [](const Add&) { return Fusion::sum; },
          [](const Relu&) { return Fusion::relu; },
          [](const Relu6&) { return Fusion::relu6; },
          [](const OneOf<Conv, Concat, MaxPool, AvgPool, GlobalAvgPool, SpatialPyramidPool, Flatten,
                         Linear> auto&) { return Fusion::none; },
      },
      op);
}

}  // namespace offramp
