#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp::graph {

Head conv_spp_head() {
  return {"conv-spp", "strided 3x3 convolution, batch norm, relu, spatial pyramid pool, linear",
          [](Segment& segment, const Shape& feature, const HeadOptions& options) {
            append_conv_head(segment, feature, options, SpatialPyramidPool{options.spp_levels});
          }};
}

}  // namespace offramp::graph
