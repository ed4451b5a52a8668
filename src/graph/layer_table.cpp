#include "graph/layer_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "core/overloaded.h"
#include "core/tensor.h"
#include "core/text.h"

namespace offramp::graph {
namespace {

/// Returns "3" for equal sides, else "3x5".
std::string sides(const Extent& extent) {
  if (extent.h == extent.w) return fmt::format("{}", extent.h);
  return fmt::format("{}x{}", extent.h, extent.w);
}

std::string describe_window(std::string_view name, const auto& window) {
  std::string text = fmt::format("{} {}x{}", name, window.kernel.h, window.kernel.w);
  if (window.stride != 1) text += fmt::format(", stride {}", sides(window.stride));
  const Padding& padding = window.padding;
  if (padding == Padding(padding.top)) {
    if (padding.top != 0) text += fmt::format(", padding {}", padding.top);
  } else {
    text += fmt::format(", padding {}+{} rows and {}+{} columns", padding.top, padding.bottom,
                        padding.left, padding.right);
  }
  if constexpr (requires { window.dilation; })
    if (window.dilation != 1) text += fmt::format(", dilation {}", sides(window.dilation));
  if constexpr (requires { window.ceil_mode; })
    if (window.ceil_mode) text += ", rounded up";
  return text;
}

struct Widths {
  std::size_t name = 0, op = 0, shape = 0;
};

std::string line(const Widths& widths, std::string_view name, std::string_view op,
                 std::string_view shape, const OpCount& count) {
  return fmt::format("{:<{}}  {:<{}}  {:<{}}  {:>15}  {:>12}\n", name, widths.name, op, widths.op,
                     shape, widths.shape, core::with_commas(count.macs),
                     core::with_commas(count.parameters));
}

}  // namespace

std::string describe(const Op& op) {
  const std::string_view name = op_name(op);
  return std::visit(
      core::overloaded{
          [&](const Conv& conv) {
            std::string text = describe_window(name, conv);
            if (conv.groups != 1) text += fmt::format(", {} groups", conv.groups);
            if (conv.bias) text += ", bias";
            return text;
          },
          [&](const MaxPool& pool) { return describe_window(name, pool); },
          [&](const AvgPool& pool) {
            return describe_window(name, pool) +
                   (pool.count_include_pad ? "" : ", padding not counted");
          },
          [&](const AdaptiveAvgPool& pool) {
            return fmt::format("{} {}x{}", name, pool.grid.h, pool.grid.w);
          },
          [&](const Clip& clip) {
            return fmt::format("{} {:.7g} to {:.7g}", name, clip.min, clip.max);
          },
          [&](const HardSigmoid& hard) {
            return fmt::format("{} {:.7g}, {:.7g}", name, hard.alpha, hard.beta);
          },
          [&](const Gelu& gelu) { return std::string(name) + (gelu.tanh ? ", tanh" : ""); },
          [&](const Slice& slice) {
            return fmt::format("{} {} to {}", name, slice.begin, slice.end - 1);
          },
          [&](const ChannelShuffle& shuffle) {
            return fmt::format("{}, {} groups", name, shuffle.groups);
          },
          [&](const SpatialPyramidPool& pool) {
            return fmt::format("{} {}", name, fmt::join(pool.levels, ","));
          },
          [&](const Linear& linear) {
            return std::string(name) + (linear.bias ? "" : ", no bias");
          },
          [&](const core::OneOf<BatchNorm, LayerNorm, Relu, Relu6, Sigmoid, HardSwish, Silu, Add,
                                Multiply, Concat, GlobalAvgPool, Flatten> auto&) {
            return std::string(name);
          },
      },
      op);
}

std::vector<LayerRow> layer_rows(const Graph& graph) {
  const auto shapes = infer_shapes(graph);
  std::vector<LayerRow> rows;
  for (std::size_t i = 0; i < graph.segments.size(); ++i) {
    const auto add = [&](const std::vector<Node>& nodes, bool in_head) {
      for (const Node& node : nodes) {
        std::vector<Shape> inputs;
        for (const std::string& input : node.inputs) inputs.push_back(shapes.find(input)->second);
        const Shape& output = shapes.find(node.name)->second;
        rows.push_back({static_cast<int>(i), in_head, node.name, describe(node.op), output,
                        count_node(node, inputs, output)});
      }
    };
    add(graph.segments[i].nodes, false);
    add(graph.segments[i].head, true);
  }
  return rows;
}

std::string layer_table(const Graph& graph) {
  const std::vector<LayerRow> rows = layer_rows(graph);
  const Cost cost = cost_of(graph);
  const std::string input = core::to_string(graph.input);

  Widths widths{4, 9, std::max<std::size_t>(input.size(), 6)};
  for (const LayerRow& row : rows) {
    widths.name = std::max(widths.name, row.name.size() + 2);
    widths.op = std::max(widths.op, row.op.size());
    widths.shape = std::max(widths.shape, core::to_string(row.output).size());
  }
  for (const Segment& segment : graph.segments)
    widths.name = std::max(widths.name, segment.name.size() + 10);

  std::string text =
      fmt::format("{:<{}}  {:<{}}  {:<{}}  {:>15}  {:>12}\n", "node", widths.name, "operation",
                  widths.op, "output", widths.shape, "MACs", "parameters");
  text += fmt::format("{:<{}}  {:<{}}  {}\n", kInput, widths.name, "", widths.op, input);

  int exit_index = 0;
  auto row = rows.begin();
  for (std::size_t i = 0; i < graph.segments.size(); ++i) {
    const auto part = [&](bool in_head, const std::string& title, const OpCount& count) {
      text += line(widths, title, "", "", count);
      for (; row != rows.end() && row->segment == static_cast<int>(i) && row->in_head == in_head;
           ++row)
        text += line(widths, "  " + row->name, row->op, core::to_string(row->output), row->count);
    };
    part(false, fmt::format("segment {}", graph.segments[i].name), cost.segments[i].body);
    if (graph.segments[i].head.empty()) continue;
    ++exit_index;
    part(true, fmt::format("exit {}", exit_index), cost.segments[i].head);
  }

  text += fmt::format("\nplain network: {} MACs, {} parameters; with all exits: {} parameters\n",
                      core::with_commas(cost.plain_macs), core::with_commas(cost.plain_parameters),
                      core::with_commas(cost.total_parameters()));
  for (std::size_t k = 0; k < cost.exit_macs.size(); ++k)
    text += fmt::format("stopping at exit {}: {} MACs, relative cost {:.3f}\n", k + 1,
                        core::with_commas(cost.exit_macs[k]), cost.relative(static_cast<int>(k)));
  return text;
}

}  // namespace offramp::graph
