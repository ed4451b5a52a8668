#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp::graph {

Head conv_avg_head() {
  return {"conv-avg", "strided 3x3 convolution, batch norm, relu, global average pool, linear",
          [](Segment& segment, const Shape& feature, const HeadOptions& options) {
            append_conv_head(segment, feature, options, GlobalAvgPool{});
          }};
}

}  // namespace offramp::graph
