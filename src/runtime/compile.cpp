#include "runtime/compile.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/overloaded.h"
#include "graph/cost.h"
#include "graph/layer_table.h"
#include "runtime/convolution.h"
#include "runtime/lower.h"
#include "runtime/memory_plan.h"
#include "runtime/native_operations.h"
#include "runtime/packed_weights.h"
#include "runtime/quantised_elements.h"

namespace offramp::runtime {
namespace {

using Shapes = std::map<std::string, graph::Shape, std::less<>>;

using Elements = std::map<std::string, Element, std::less<>>;

std::string with_activation(const std::string& text, const Activation& activation) {
  return activation.is_none() ? text : fmt::format("{} + {}", text, to_string(activation));
}

/// Describes a lowered operation in one line.
struct KindText {
  std::string operator()(const FusedConv& fused) const {
    std::string text = describe(fused.conv);
    if (!fused.residual.empty()) text += " + residual";
    return with_activation(text, fused.activation);
  }
  std::string operator()(const FusedLinear& linear) const {
    return with_activation("linear", linear.activation);
  }
  std::string operator()(const Scale& scale) const {
    return with_activation("scale", scale.activation);
  }
  std::string operator()(const FusedAdd& add) const {
    return with_activation("add", add.activation);
  }
  std::string operator()(const Activate& op) const { return to_string(op.activation); }
  std::string operator()(const FusedLayerNorm&) const { return "layer_norm"; }
  std::string operator()(
      const core::OneOf<graph::Multiply, graph::Concat, graph::Slice, graph::ChannelShuffle,
                        graph::MaxPool, graph::AvgPool, graph::AdaptiveAvgPool,
                        graph::GlobalAvgPool, graph::SpatialPyramidPool, graph::Flatten> auto&
          plain) const {
    return describe(plain);
  }
};

/// The data that the compilations of all segments of a network share.
struct Context {
  const CompileOptions& options;
  const Shapes& shapes;
  const Elements& quantised;  ///< the elements of every image tensor; only for int8
  PackedWeights& weights;

  Element element_of(const std::string& tensor) const {
    switch (options.precision) {
      case Precision::f32:
        return {};
      case Precision::bf16:
        return {core::DType::bf16};
      case Precision::int8:
        return quantised.find(tensor)->second;
    }
    return {};
  }
};

/// Compiles one segment for one batch size.
class SegmentCompiler {
 public:
  /// @param last  whether this is the last compilation of the segment. Weights are then freed as
  /// soon
  ///              as they are reordered, so that the weights are never all in memory twice.
  SegmentCompiler(const Context& context, LoweredSegment& lowered, int batch, bool last)
      : context_(context),
        lowered_(lowered),
        work_size_{batch, context.options.threads},
        last_(last) {
    result_.batch = batch;
  }

  /// @param inputs   layouts of the segment's inputs
  /// @param outputs  layouts that the next segment expects; empty: outputs keep their layouts
  CompiledSegment compile(const std::vector<Layout>& inputs, const std::vector<Layout>& outputs) {
    for (std::size_t i = 0; i < inputs.size(); ++i)
      result_.values[static_cast<std::size_t>(add_value(lowered_.inputs[i], inputs[i]))].input =
          static_cast<int>(i);
    steps_ = &result_.body;
    for (LoweredOp& op : lowered_.body) compile(op);
    for (std::size_t i = 0; i < lowered_.outputs.size(); ++i) {
      const int value = find(lowered_.outputs[i]);
      result_.outputs.push_back(outputs.empty() ? value : in_layout(value, outputs[i]));
    }
    steps_ = &result_.head;
    for (LoweredOp& op : lowered_.head) compile(op);
    if (!lowered_.head.empty()) result_.logits = find(lowered_.head.back().output);
    place();
    return std::move(result_);
  }

 private:
  int add_value(const std::string& name, const Layout& layout) {
    const int index = static_cast<int>(result_.values.size());
    result_.values.push_back({name, layout, -1, 0});
    owner_.push_back(index);
    named_[name] = index;
    return index;
  }
  int find(const std::string& name) const { return named_.find(name)->second; }
  const Layout& layout(int value) const {
    return result_.values[static_cast<std::size_t>(value)].layout;
  }
  const graph::Shape& shape(const std::string& tensor) const {
    return context_.shapes.find(tensor)->second;
  }

  void append(const std::string& output, std::string kind,
              std::shared_ptr<const Operation> operation, std::vector<int> srcs, int dst) {
    steps_->push_back({output, std::move(kind), std::move(operation), std::move(srcs), dst, 0});
  }

  /// Returns the value itself if it has the layout `wanted`, else a reordered copy, which is made
  /// only once. `wanted` is passed by value, because a reference into `values` becomes invalid when
  /// `values` grows.
  // NOLINTNEXTLINE(performance-unnecessary-value-param)
  int in_layout(int value, Layout wanted) {
    if (layout(value) == wanted) return value;
    const auto [known, fresh] = copies_.try_emplace({value, wanted.format}, -1);
    if (!fresh) return known->second;
    const std::string name = result_.values[static_cast<std::size_t>(value)].name + " (reordered)";
    const int copy = known->second = add_value(name, wanted);
    append(name, "reorder", make_reorder(layout(value), wanted, work_size_.batch), {value}, copy);
    return copy;
  }

  /// Whether an operation may overwrite a tensor, because no later operation reads it.
  bool is_free_after(const LoweredOp& op, const std::string& tensor) const {
    const auto contains = [&](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), tensor) != list.end();
    };
    // The outputs of a segment are copied to the next one after the head has run.
    return contains(op.last_reads) && !contains(lowered_.outputs);
  }

  /// Adds a value that lies in the memory of another value.
  int add_value_over(const std::string& name, const Layout& layout, int other) {
    const int value = add_value(name, layout);
    owner_.back() = owner_[static_cast<std::size_t>(other)];
    return value;
  }

  void compile(LoweredOp& op) {
    std::vector<int> srcs;
    for (const std::string& input : op.inputs) srcs.push_back(find(input));
    std::visit([&](auto& kind) { compile(op, kind, std::move(srcs)); }, op.kind);
  }

  void compile(const LoweredOp& op, FusedConv& conv, std::vector<int> srcs) {
    ConvolutionRequest request{
        op.output,
        &conv,
        shape(op.inputs[0]),
        shape(op.output),
        layout(srcs[0]).element,
        context_.element_of(op.output),
        conv.residual.empty() ? Element{} : layout(find(conv.residual)).element,
        layout(srcs[0]).format,
        work_size_.batch,
        context_.options.max_bytes};
    const CompiledConvolution compiled = compile_convolution(request, context_.weights);
    if (last_) conv.weights = std::vector<float>();
    const int src = in_layout(srcs[0], compiled.src);
    const int dst = conv.residual.empty() ? add_value(op.output, compiled.dst)
                                          : value_with_residual(op, conv, compiled.dst);
    append(op.output, KindText{}(conv), compiled.operation, {src}, dst);
  }

  /// Returns the value for the sum of a convolution and its residual. The sum overwrites the
  /// residual, or a copy of it if a later operation reads the residual. The residual's elements may
  /// differ from those of the sum, but have the same size.
  int value_with_residual(const LoweredOp& op, const FusedConv& conv, const Layout& dst) {
    int residual = find(conv.residual);
    Layout wanted = layout(residual);
    wanted.format = dst.format;
    const bool also_src = op.inputs[0] == conv.residual;
    if (!is_free_after(op, conv.residual) || also_src || layout(residual) != wanted) {
      const bool moves = layout(residual) != wanted;
      const int copy = add_value(conv.residual + " (copied)", wanted);
      append(conv.residual + " (copied)", moves ? "reorder" : "copy",
             moves ? make_reorder(layout(residual), wanted, work_size_.batch)
                   : make_copy(wanted, work_size_),
             {residual}, copy);
      residual = copy;
    }
    return add_value_over(op.output, dst, residual);
  }

  /// Returns the value for the output of an element-wise operation, which overwrites the
  /// operation's first input if possible.
  int value_of_elementwise(const LoweredOp& op, const std::vector<int>& srcs) {
    Layout dst = layout(srcs[0]);
    if (dst.element.is_quantised()) dst.element = context_.element_of(op.output);
    const bool repeated = std::count(srcs.begin(), srcs.end(), srcs[0]) > 1;
    if (is_free_after(op, op.inputs[0]) && srcs[0] == find(op.inputs[0]) && !repeated)
      return add_value_over(op.output, dst, srcs[0]);
    return add_value(op.output, dst);
  }

  std::shared_ptr<const Operation> sum(const std::vector<int>& srcs, int dst,
                                       const Activation& activation) const {
    if (!layout(dst).element.is_quantised()) return make_add(layout(dst), activation, work_size_);
    std::vector<Element> elements;
    for (const int src : srcs) elements.push_back(layout(src).element);
    return make_quantised_add(elements, layout(dst), activation, work_size_);
  }

  /// Returns the value itself or a copy in this format.
  int in_format(int value, Format format) {
    Layout wanted = layout(value);
    wanted.format = format;
    return in_layout(value, wanted);
  }

  /// Returns the format in which an activation of a value leaves the zeros of partial blocks.
  Format format_for(int value, const Activation& activation) const {
    const kernels::Grid grid = layout(value).grid();
    return activation.keeps_zero() || grid.channels == grid.blocks * grid.block
               ? layout(value).format
               : Format::channels_last;
  }

  void compile(const LoweredOp& op, const FusedAdd& add, std::vector<int> srcs) {
    srcs[0] = in_format(srcs[0], format_for(srcs[0], add.activation));
    for (int& src : srcs) src = in_format(src, layout(srcs[0]).format);
    const int dst = value_of_elementwise(op, srcs);
    append(op.output, KindText{}(add), sum(srcs, dst, add.activation), srcs, dst);
  }
  void compile(const LoweredOp& op, const Activate& activate, std::vector<int> srcs) {
    srcs[0] = in_format(srcs[0], format_for(srcs[0], activate.activation));
    const int dst = value_of_elementwise(op, srcs);
    append(op.output, KindText{}(activate), sum(srcs, dst, activate.activation), srcs, dst);
  }
  void compile(const LoweredOp& op, const Scale& scale, std::vector<int> srcs) {
    srcs[0] = in_format(srcs[0], format_for(srcs[0], scale.activation));
    const int dst = value_of_elementwise(op, srcs);
    append(op.output, KindText{}(scale),
           make_scale(layout(srcs[0]), layout(dst), scale, work_size_), srcs, dst);
  }

  void compile(const LoweredOp& op, const FusedLayerNorm& norm, std::vector<int> srcs) {
    const int dst = value_of_elementwise(op, srcs);
    append(op.output, KindText{}(norm),
           make_layer_norm(layout(srcs[0]), layout(dst), norm, work_size_), srcs, dst);
  }
  void compile(const LoweredOp& op, const graph::Multiply& multiply, std::vector<int> srcs) {
    const bool by_channel = shape(op.inputs[0]) != shape(op.inputs[1]);
    if (!by_channel) srcs[1] = in_format(srcs[1], layout(srcs[0]).format);
    const int dst = value_of_elementwise(op, srcs);
    append(op.output, KindText{}(multiply),
           by_channel ? make_multiply_channels(layout(srcs[0]), layout(dst), work_size_)
                      : make_multiply({layout(srcs[0]).element, layout(srcs[1]).element},
                                      layout(dst), work_size_),
           srcs, dst);
  }
  void compile(const LoweredOp& op, const graph::Slice& slice, std::vector<int> srcs) {
    if (!can_slice(layout(srcs[0]), slice)) srcs[0] = in_format(srcs[0], Format::channels_last);
    const int dst = add_value(op.output, image_like(op, layout(srcs[0])));
    append(op.output, KindText{}(slice),
           make_slice(layout(srcs[0]), layout(dst), slice, work_size_), srcs, dst);
  }
  void compile(const LoweredOp& op, const graph::ChannelShuffle& shuffle, std::vector<int> srcs) {
    const int dst = add_value(op.output, layout(srcs[0]));
    append(op.output, KindText{}(shuffle), make_channel_shuffle(layout(dst), shuffle, work_size_),
           srcs, dst);
  }

  void compile(const LoweredOp& op, const graph::Concat& concat, std::vector<int> srcs) {
    std::vector<Layout> layouts;
    const auto gather = [&] {
      layouts.clear();
      for (const int src : srcs) layouts.push_back(layout(src));
    };
    gather();
    if (!can_concat(layouts)) {
      for (int& src : srcs) src = in_format(src, Format::channels_last);
      gather();
    }
    const int dst = add_value(op.output, image_like(op, layouts[0]));
    append(op.output, KindText{}(concat), make_concat(layouts, layout(dst), work_size_), srcs, dst);
  }

  void compile(const LoweredOp& op, const graph::MaxPool& pool, std::vector<int> srcs) {
    const int dst = add_value(op.output, image_like(op, layout(srcs[0])));
    append(op.output, KindText{}(pool),
           make_max_pool(layout(srcs[0]), layout(dst), pool, work_size_), srcs, dst);
  }
  void compile(const LoweredOp& op, const graph::AvgPool& pool, std::vector<int> srcs) {
    const int dst = add_value(op.output, image_like(op, layout(srcs[0])));
    append(op.output, KindText{}(pool),
           make_avg_pool(layout(srcs[0]), layout(dst), pool, work_size_), srcs, dst);
  }
  void compile(const LoweredOp& op, const graph::AdaptiveAvgPool& pool, std::vector<int> srcs) {
    const int dst = add_value(op.output, image_like(op, layout(srcs[0])));
    append(op.output, KindText{}(pool),
           make_adaptive_average(layout(srcs[0]), layout(dst), work_size_), srcs, dst);
  }
  void compile(const LoweredOp& op, const graph::GlobalAvgPool& pool, std::vector<int> srcs) {
    append_features(op, KindText{}(pool), make_global_average(layout(srcs[0]), work_size_), srcs);
  }
  void compile(const LoweredOp& op, const graph::SpatialPyramidPool& pool, std::vector<int> srcs) {
    append_features(op, KindText{}(pool), make_pyramid_pool(layout(srcs[0]), pool, work_size_),
                    srcs);
  }
  void compile(const LoweredOp& op, const graph::Flatten& flat, std::vector<int> srcs) {
    auto operation = make_flatten(layout(srcs[0]), work_size_);
    append_features(op, KindText{}(flat), std::move(operation), std::move(srcs));
  }
  void compile(const LoweredOp& op, const FusedLinear& linear, std::vector<int> srcs) {
    append_features(op, KindText{}(linear), make_linear(linear, work_size_), std::move(srcs));
  }

  void append_features(const LoweredOp& op, std::string kind,
                       std::shared_ptr<const Operation> operation, std::vector<int> srcs) {
    const int dst = add_value(op.output, feature_layout(shape(op.output)[0]));
    append(op.output, std::move(kind), std::move(operation), std::move(srcs), dst);
  }

  Layout image_like(const LoweredOp& op, Layout layout) const {
    layout.shape = shape(op.output);
    return layout;
  }

  /// Plans the arena. The lifetime of a value is from the step that writes it to the last step that
  /// reads it; the lifetime of scratch memory is its step.
  void place() {
    const std::size_t num_values = result_.values.size();
    const auto batch = static_cast<std::size_t>(work_size_.batch);
    std::vector<Lifetime> buffers(num_values, Lifetime{0, -1, -1});
    std::vector<Step*> steps;
    for (auto* part : {&result_.body, &result_.head})
      for (Step& step : *part) steps.push_back(&step);
    const int end = static_cast<int>(steps.size());
    const auto owned = [&](int value) -> Lifetime& {
      return buffers[static_cast<std::size_t>(owner_[static_cast<std::size_t>(value)])];
    };
    for (std::size_t i = 0; i < num_values; ++i) {
      Lifetime& buffer = owned(static_cast<int>(i));
      buffer.bytes = std::max(buffer.bytes, result_.values[i].layout.bytes() * batch);
    }
    for (int i = 0; i < end; ++i) {
      const Step& step = *steps[static_cast<std::size_t>(i)];
      Lifetime& dst = owned(step.dst);
      if (dst.first < 0) dst.first = i;
      dst.last = i;
      for (const int src : step.srcs) owned(src).last = i;
      buffers.push_back({step.operation->scratch_bytes(), i, i});
    }
    for (const int output : result_.outputs) owned(output).last = end;
    if (result_.logits >= 0) owned(result_.logits).last = end;
    // Inputs have buffers outside the arena.
    for (std::size_t i = 0; i < num_values; ++i)
      if (result_.values[i].input >= 0) buffers[i].bytes = 0;

    const MemoryPlan plan = plan_memory(buffers);
    result_.arena_bytes = plan.bytes;
    if (plan.bytes > context_.options.max_bytes)
      throw Error(fmt::format(
          "segment with node \"{}\": {}", steps.empty() ? "" : steps.front()->output,
          memory_limit_message(fmt::format("activations in batches of {}", work_size_.batch),
                               plan.bytes, context_.options.max_bytes)));
    for (std::size_t i = 0; i < num_values; ++i) {
      const auto owner = static_cast<std::size_t>(owner_[i]);
      result_.values[i].offset = plan.offsets[owner];
      result_.values[i].input = result_.values[owner].input;
    }
    for (std::size_t i = 0; i < steps.size(); ++i)
      steps[i]->scratch_offset = plan.offsets[num_values + i];
  }

  const Context& context_;
  LoweredSegment& lowered_;
  WorkSize work_size_;
  bool last_;
  CompiledSegment result_;
  std::vector<Step>* steps_ = nullptr;
  std::vector<int> owner_;  // [values] the value whose memory this value uses
  std::map<std::string, int, std::less<>> named_;
  std::map<std::pair<int, Format>, int> copies_;  // (value, format) to its copy in that format
};

/// The layout of the network's input: the one that its first convolution chooses.
Layout input_layout(const graph::Graph& graph, const LoweredSegment& first, const Context& context,
                    int batch) {
  Layout layout{graph.input, context.element_of(std::string(graph::kInput)), Format::channels_last};
  for (const LoweredOp& op : first.body) {
    const FusedConv* conv = as_convolution(op.kind);
    if (conv == nullptr || op.inputs[0] != graph::kInput) continue;
    const ConvolutionRequest request{op.output,
                                     conv,
                                     graph.input,
                                     context.shapes.find(op.output)->second,
                                     layout.element,
                                     context.element_of(op.output),
                                     Element{layout.element.dtype},
                                     std::nullopt,
                                     batch,
                                     context.options.max_bytes};
    return compile_convolution(request, context.weights).src;
  }
  return layout;
}

std::vector<int> sorted_batches(std::vector<int> batches) {
  batches.push_back(1);
  std::sort(batches.begin(), batches.end());
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
  if (batches.front() < 1)
    throw Error(fmt::format("a batch must hold at least 1 image, got {}", batches[0]));
  return batches;
}

/// Checks that every tensor and all weights fit into the memory limit, before anything is allocated
/// and before oneDNN is called.
void check_sizes(const graph::Graph& graph, const Shapes& shapes, const CompileOptions& options,
                 int batch) {
  const std::size_t most = options.max_bytes;
  const std::size_t element = options.precision == Precision::f32    ? 4
                              : options.precision == Precision::bf16 ? 2
                                                                     : 1;
  for (const auto& [name, shape] : shapes) {
    const std::size_t bytes =
        static_cast<std::size_t>(core::element_count(shape)) * (shape.size() == 3 ? element : 4);
    if (bytes > most / static_cast<std::size_t>(batch))
      throw Error(fmt::format(
          "tensor \"{}\": {}", name,
          memory_limit_message(fmt::format("{} in batches of {}", core::to_string(shape), batch),
                               bytes * static_cast<std::size_t>(batch), most)));
  }
  std::size_t weights = 0;
  for (const graph::Parameter& parameter : graph::parameters(graph)) {
    weights += static_cast<std::size_t>(core::element_count(parameter.shape)) * sizeof(float);
    if (weights > most)
      throw Error(fmt::format(
          "tensor \"{}\": {}", parameter.name,
          memory_limit_message("this tensor and the weights before it, in f32,", weights, most)));
  }
}

/// The size in bytes of the weights that an operation keeps outside the weight store.
std::size_t own_weight_bytes(const LoweredKind& kind) {
  return std::visit(
      core::overloaded{
          [](const FusedLinear& linear) { return linear.weight_bytes(); },
          [](const core::OneOf<FusedConv, Scale, FusedLayerNorm, FusedAdd, Activate,
                               graph::Multiply, graph::Concat, graph::Slice, graph::ChannelShuffle,
                               graph::MaxPool, graph::AvgPool, graph::AdaptiveAvgPool,
                               graph::GlobalAvgPool, graph::SpatialPyramidPool,
                               graph::Flatten> auto&) { return std::size_t{0}; },
      },
      kind);
}

std::size_t own_weight_bytes(const std::vector<LoweredSegment>& network) {
  std::size_t bytes = 0;
  for (const LoweredSegment& segment : network)
    for (const auto* ops : {&segment.body, &segment.head})
      for (const LoweredOp& op : *ops) bytes += own_weight_bytes(op.kind);
  return bytes;
}

/// Compiles all segments for all batch sizes. The compilation for the largest batch size chooses
/// the layouts of the tensors between segments, and the other sizes use them too.
void compile_stages(const graph::Graph& graph, std::vector<LoweredSegment> lowered,
                    const Context& context, CompiledNetwork& network) {
  std::vector<Layout> inputs = {input_layout(graph, lowered[0], context, network.batches.back())};
  const graph::Cost cost = graph::cost_of(graph);
  for (std::size_t i = 0; i < lowered.size(); ++i) {
    CompiledStage stage;
    stage.inputs = inputs;
    if (!lowered[i].head.empty()) stage.exit_index = network.num_exits++;
    stage.body_macs = cost.segments[i].body.macs;
    stage.head_macs = cost.segments[i].head.macs;
    std::vector<Layout> outputs;
    for (auto batch = network.batches.rbegin(); batch != network.batches.rend(); ++batch) {
      stage.sizes.push_back(
          SegmentCompiler(context, lowered[i], *batch, *batch == 1).compile(inputs, outputs));
      if (outputs.empty()) outputs = layouts_of(stage.sizes[0], stage.sizes[0].outputs);
    }
    std::reverse(stage.sizes.begin(), stage.sizes.end());
    network.stages.push_back(std::move(stage));
    inputs = std::move(outputs);
  }
}

}  // namespace

std::shared_ptr<const CompiledNetwork> compile(const graph::Graph& graph,
                                               const WeightSource& weights,
                                               const CompileOptions& options, WeightStore& store) {
  if (!has_instructions_for(options.precision))
    throw Error(fmt::format("this CPU has no instructions for {}", to_string(options.precision)));
  return translate_onednn_errors([&] {
    const OmpThreads threads(options.threads);
    const Shapes shapes = graph::infer_shapes(graph);
    auto network = std::make_shared<CompiledNetwork>();
    network->precision = options.precision;
    network->threads = options.threads;
    network->input = graph.input;
    network->classes = graph.classes;
    network->batches = sorted_batches(options.batches);
    check_sizes(graph, shapes, options, network->batches.back());
    std::vector<LoweredSegment> lowered = lower(graph, weights);
    const std::size_t own = own_weight_bytes(lowered);
    const Elements quantised = options.precision == Precision::int8
                                   ? quantised_elements(lowered, options.ranges)
                                   : Elements{};
    // `lowered` holds all weights in f32. It is moved, because a copy would double the peak memory.
    compile_stages(graph, std::move(lowered), {options, shapes, quantised, store.packed()},
                   *network);
    const std::size_t bytes = store.bytes() + own + workspace_bytes(*network);
    if (bytes > options.max_bytes)
      throw Error(fmt::format(
          "{}", memory_limit_message(fmt::format("weights, activations and inputs in batches of {}",
                                                 network->batches.back()),
                                     bytes, options.max_bytes)));
    return network;
  });
}

std::shared_ptr<const CompiledNetwork> compile(const graph::Graph& graph,
                                               const core::Tensors& weights,
                                               const CompileOptions& options, WeightStore& store) {
  return compile(graph, source_of(weights), options, store);
}

}  // namespace offramp::runtime
