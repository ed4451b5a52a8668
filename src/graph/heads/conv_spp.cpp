#include "graph/build.h"
#include "graph/network.h"

namespace offramp {

// Early features are shallow: one more convolution makes them fit to be told apart. As many
// channels as the feature has and a stride of 2 keep it at a quarter of a 3×3 convolution there,
// under 2 % of a ResNet-18.
Head conv_spp_head() {
  return {"conv-spp", "strided 3x3 convolution, batch norm, relu, spatial pyramid pool, linear",
          [](Segment& segment, const Shape& feature, const HeadOptions& options) {
            std::vector<Node>& head = segment.head;
            const std::string& prefix = options.prefix;
            const Conv conv{.out_channels = feature[0], .kernel = 3, .stride = 2, .padding = 1};
            std::string x =
                append_conv_norm(head, prefix + ".conv", prefix + ".bn", conv, segment.feature);
            x = append(head, prefix + ".relu", Relu{}, {x});
            x = append(head, prefix + ".pool", SpatialPyramidPool{options.spp_levels}, {x});
            append(head, prefix + ".fc", Linear{.out_features = options.classes}, {x});
          }};
}

}  // namespace offramp
