#include "graph/graph_builder.h"
#include "graph/network_spec.h"

namespace offramp::graph {

Head spp_head() {
  return {"spp", "spatial pyramid pool, linear",
          [](Segment& segment, const Shape&, const HeadOptions& options) {
            const std::string pooled =
                append(segment.head, options.prefix + ".pool",
                       SpatialPyramidPool{options.spp_levels}, {segment.feature});
            append(segment.head, options.prefix + ".fc", Linear{.out_features = options.classes},
                   {pooled});
          }};
}

}  // namespace offramp::graph
