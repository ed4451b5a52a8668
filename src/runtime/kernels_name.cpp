#include "runtime/kernels_name.h"

#include <fmt/format.h>

#include "core/clones.h"
#include "core/overloaded.h"
#include "runtime/onednn.h"

namespace offramp::runtime {

namespace {

/// Whether every instruction set gives the same bits in int8. This holds for an operation that
/// computes exact integers or rounds a value once, and for the last operations of a head, which are
/// our own f32 code.
bool is_portable(const graph::Op& op) {
  return std::visit(
      core::overloaded{
          [](const core::OneOf<graph::Conv, graph::BatchNorm, graph::Relu, graph::Relu6,
                               graph::Clip, graph::Add, graph::Concat, graph::Slice,
                               graph::ChannelShuffle, graph::MaxPool, graph::AvgPool,
                               graph::AdaptiveAvgPool, graph::GlobalAvgPool,
                               graph::SpatialPyramidPool, graph::Flatten, graph::Linear> auto&) {
            return true;
          },
          // oneDNN and our loops approximate functions; a product of an image and the f32 factors
          // of linear layers rounds their differences to 8 bits.
          [](const core::OneOf<graph::Sigmoid, graph::HardSigmoid, graph::HardSwish, graph::Silu,
                               graph::Gelu, graph::Multiply, graph::LayerNorm> auto&) {
            return false;
          },
      },
      op);
}

}  // namespace

std::string kernels_name() {
  const dnnl_version_t* version = dnnl_version();
  // All x86-64 CPUs with AVX2 have fused multiply-adds; without them our own loops round otherwise.
  return fmt::format("onednn {}.{}.{} {}{}", version->major, version->minor, version->patch,
                     instruction_set(), core::clones_use_fma() ? "" : ", loops without fma");
}

std::string arithmetic_name(Precision precision) {
  if (precision != Precision::int8) return "";
  // 1 summed linear layers in an order that depended on the instruction set.
  return "int8 arithmetic 2: exact 32-bit sums, rounded once to the nearest even, f32 by offramp";
}

std::string arithmetic_name(Precision precision, const graph::Graph& graph) {
  for (const graph::Segment& segment : graph.segments)
    for (const auto* nodes : {&segment.nodes, &segment.head})
      for (const graph::Node& node : *nodes)
        if (!is_portable(node.op)) return "";
  return arithmetic_name(precision);
}

}  // namespace offramp::runtime
