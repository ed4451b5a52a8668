#include <fmt/format.h>

#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp::graph {

// A head for a very early exit, where one convolution is not enough to classify the feature. It has
// two convolutions with stride 2 and twice as many channels as the feature, which cost about 5 % of
// a ResNet-18.
Head deep_spp_head() {
  return {"deep-spp",
          "two strided 3x3 convolutions, batch norm, relu, spatial pyramid pool, linear",
          [](Segment& segment, const Shape& feature, const HeadOptions& options) {
            std::vector<Node>& head = segment.head;
            const Conv conv{.out_channels = 2 * feature[0], .kernel = 3, .stride = 2, .padding = 1};
            std::string x = segment.feature;
            for (int i = 1; i <= 2; ++i) {
              x = append_conv_norm(head, fmt::format("{}.conv{}", options.prefix, i),
                                   fmt::format("{}.bn{}", options.prefix, i), conv, x);
              x = append(head, fmt::format("{}.relu{}", options.prefix, i), Relu{}, {x});
            }
            x = append(head, options.prefix + ".pool", SpatialPyramidPool{options.spp_levels}, {x});
            append(head, options.prefix + ".fc", Linear{.out_features = options.classes}, {x});
          }};
}

}  // namespace offramp::graph
