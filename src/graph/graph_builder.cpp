#include "graph/graph_builder.h"

#include "core/error.h"
#include "graph/network_spec.h"

namespace offramp::graph {

std::string append(std::vector<Node>& nodes, std::string name, Op op,
                   std::vector<std::string> inputs) {
  nodes.push_back({std::move(name), std::move(op), std::move(inputs)});
  return nodes.back().name;
}

std::string append_conv_norm(std::vector<Node>& nodes, const std::string& conv_name,
                             const std::string& norm_name, const Conv& conv,
                             const std::string& input) {
  return append(nodes, norm_name, BatchNorm{}, {append(nodes, conv_name, conv, {input})});
}

std::string append_classifier(std::vector<Node>& nodes, const std::string& feature,
                              std::int64_t classes) {
  const std::string pooled = append(nodes, "avgpool", GlobalAvgPool{}, {feature});
  return append(nodes, "fc", Linear{.out_features = classes}, {pooled});
}

void append_conv_head(Segment& segment, const Shape& feature, const HeadOptions& options, Op pool) {
  std::vector<Node>& head = segment.head;
  const std::string& prefix = options.prefix;
  const Conv conv{.out_channels = feature[0], .kernel = 3, .stride = 2, .padding = 1};
  std::string x = append_conv_norm(head, prefix + ".conv", prefix + ".bn", conv, segment.feature);
  x = append(head, prefix + ".relu", Relu{}, {x});
  x = append(head, prefix + ".pool", std::move(pool), {x});
  append(head, prefix + ".fc", Linear{.out_features = options.classes}, {x});
}

Segment make_segment(std::string name, std::vector<Node> nodes) {
  OFFRAMP_ASSERT(!nodes.empty());
  const std::string result = nodes.back().name;
  return {.name = std::move(name),
          .nodes = std::move(nodes),
          .outputs = {result},
          .feature = result,
          .head = {}};
}

}  // namespace offramp::graph
