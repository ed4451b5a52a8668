#include "train/network.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/random.h"
#include "graph/fusion.h"
#include "train/batch_norm.h"

namespace offramp::train {
namespace {

using torch::Tensor;
constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

// The FNV-1a hash. It is separate from core/hash.h because initial weights depend on it: with
// another hash, published runs could not be repeated bit for bit.
std::uint64_t initialisation_key(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Draws the initial values of a parameter. They depend on the seed and on the parameter's name
// only, so that a network with exits starts from the same backbone as one without.
std::vector<float> initial_values(const graph::Parameter& parameter, std::int64_t fan_in,
                                  std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(core::element_count(parameter.shape)));
  core::KeyedRandom random(seed, initialisation_key(parameter.name));
  switch (parameter.role) {
    case graph::ParameterRole::conv_weight: {  // He et al., 2015, fan out; Box-Muller
      const auto& s = parameter.shape;
      const double std = std::sqrt(2.0 / static_cast<double>(s[0] * s[2] * s[3]));
      for (float& value : values) {
        const double radius = std::sqrt(-2 * std::log(1.0 - static_cast<double>(random.uniform())));
        value = static_cast<float>(
            std * radius * std::cos(2 * std::numbers::pi * static_cast<double>(random.uniform())));
      }
      break;
    }
    case graph::ParameterRole::linear_weight:
    case graph::ParameterRole::bias: {
      const float bound = static_cast<float>(1 / std::sqrt(static_cast<double>(fan_in)));
      for (float& value : values) value = random.uniform(-bound, bound);
      break;
    }
    case graph::ParameterRole::norm_weight:
    case graph::ParameterRole::running_var:
      std::fill(values.begin(), values.end(), 1.f);
      break;
    case graph::ParameterRole::norm_bias:
    case graph::ParameterRole::running_mean:
      break;
  }
  return values;
}

std::string node_of(const std::string& parameter) {
  return parameter.substr(0, parameter.rfind('.'));
}

// Pools x [N, C, H, W] to a grid of bins for each level. If every bin of the coarser grids is a
// union of bins of the finest grid, the coarser maxima are computed from the finest result, so that
// x is read once.
Tensor spatial_pyramid_pool(const Tensor& x, const std::vector<int>& levels) {
  const int finest = *std::max_element(levels.begin(), levels.end());
  const bool nested =
      x.size(2) % finest == 0 && x.size(3) % finest == 0 &&
      std::all_of(levels.begin(), levels.end(), [&](int l) { return finest % l == 0; });
  const Tensor source =
      nested ? std::get<0>(torch::adaptive_max_pool2d(x, {finest, finest})).contiguous() : x;
  std::vector<Tensor> parts;
  for (const int level : levels) {
    const bool ready = nested && level == finest;
    const Tensor pooled =
        ready ? source : std::get<0>(torch::adaptive_max_pool2d(source, {level, level}));
    parts.push_back(pooled.flatten(1));
  }
  return torch::cat(parts, 1);
}

std::array<std::int64_t, 2> pair(const graph::Extent& extent) { return {extent.h, extent.w}; }

/// Returns the padding of rows and columns if it is equal at opposite sides.
std::optional<std::array<std::int64_t, 2>> equal_padding(const graph::Padding& padding) {
  if (padding.top != padding.bottom || padding.left != padding.right) return std::nullopt;
  return std::array<std::int64_t, 2>{padding.top, padding.left};
}

/// Pads an image x [N, C, H, W]; a negative padding cuts.
Tensor padded(const Tensor& x, std::array<std::int64_t, 4> left_right_top_bottom, double value) {
  return torch::constant_pad_nd(x, left_right_top_bottom, value).contiguous(kChannelsLast);
}

}  // namespace

TorchNetwork::TorchNetwork(graph::Graph graph, torch::Device device, std::uint64_t seed)
    : graph_(std::move(graph)), device_(device), parameters_(offramp::graph::parameters(graph_)) {
  std::map<std::string, std::int64_t> fan_in;
  for (const graph::Parameter& p : parameters_)
    if (p.role == graph::ParameterRole::conv_weight ||
        p.role == graph::ParameterRole::linear_weight)
      fan_in[node_of(p.name)] = core::element_count(p.shape) / p.shape[0];
  for (const graph::Parameter& p : parameters_) {
    const auto found = fan_in.find(node_of(p.name));
    auto values = initial_values(p, found == fan_in.end() ? 1 : found->second, seed);
    Tensor t = torch::from_blob(values.data(), p.shape, torch::kFloat).clone();
    if (t.dim() == 4) t = t.contiguous(kChannelsLast);
    tensors_[p.name] = t.to(device_).set_requires_grad(p.trained());
  }
  exits_ = graph::exit_segments(graph_);
  for (const graph::Segment& segment : graph_.segments) {
    auto needed_outputs = segment.outputs;
    if (!segment.head.empty()) needed_outputs.push_back(segment.feature);
    bodies_.push_back(plan(segment.nodes, needed_outputs));
    heads_.push_back(segment.head.empty() ? std::vector<Step>{}
                                          : plan(segment.head, {segment.head.back().name}));
  }
}

void TorchNetwork::load(const core::Tensors& weights) {
  torch::NoGradGuard no_grad;
  for (const auto& [name, value] : weights) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end())
      throw Error(fmt::format("tensor \"{}\": the network has no such parameter", name));
    auto values = value.to_f32();
    if (found->second.sizes() != at::IntArrayRef(value.shape))
      throw Error(fmt::format("tensor \"{}\": shape differs from the graph: got {}, expected {}",
                              name, core::to_string(value.shape),
                              core::to_string(found->second.sizes().vec())));
    found->second.copy_(torch::from_blob(values.data(), value.shape, torch::kFloat));
  }
}

core::Tensors TorchNetwork::save() const {
  core::Tensors result;
  for (const auto& [name, tensor] : tensors_) {
    const Tensor flat = tensor.detach().to(torch::kCPU).contiguous();
    result[name] = core::HostTensor::of(
        flat.sizes().vec(),
        std::span<const float>(flat.data_ptr<float>(), static_cast<std::size_t>(flat.numel())));
  }
  return result;
}

std::vector<TorchNetwork::Step> TorchNetwork::plan(const std::vector<graph::Node>& nodes,
                                                   const std::vector<std::string>& needed_outputs) {
  const std::set<std::string> needed_set(needed_outputs.begin(), needed_outputs.end());
  std::map<std::string, std::vector<const graph::Node*>> users;
  for (const graph::Node& node : nodes)
    for (const std::string& input : node.inputs) users[input].push_back(&node);
  const auto only_user = [&](const std::string& tensor) -> const graph::Node* {
    return !needed_set.contains(tensor) && users[tensor].size() == 1 ? users[tensor].front()
                                                                     : nullptr;
  };

  std::set<const graph::Node*> absorbed;
  // The steps by the last node that each includes, where all inputs of the step exist.
  std::map<const graph::Node*, Step> steps_at;
  for (const graph::Node& node : nodes) {
    if (absorbed.contains(&node)) continue;
    Step step{&node, node.inputs, node.name, "", false, {}};
    const graph::Node* last = &node;
    if (graph::fusion_of(node.op) == graph::Fusion::batch_norm) {
      const graph::Node* next = only_user(last->name);
      if (next && graph::fusion_of(next->op) == graph::Fusion::sum && next->inputs.size() == 2 &&
          !absorbed.contains(next)) {
        step.residual = next->inputs[0] == last->name ? next->inputs[1] : next->inputs[0];
        absorbed.insert(next);
        last = next;
        next = only_user(last->name);
      }
      if (next && graph::fusion_of(next->op) == graph::Fusion::relu) {
        step.relu = true;
        absorbed.insert(next);
        last = next;
      }
      step.output = last->name;
    }
    steps_at[last] = step;
  }
  std::vector<Step> steps;
  for (const graph::Node& node : nodes)
    if (const auto found = steps_at.find(&node); found != steps_at.end())
      steps.push_back(found->second);

  std::set<std::string> used_later;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    auto reads = step->inputs;
    if (!step->residual.empty()) reads.push_back(step->residual);
    for (const std::string& name : reads)
      if (used_later.insert(name).second && !needed_set.contains(name))
        step->last_uses.push_back(name);
  }
  return steps;
}

TorchNetwork::State TorchNetwork::start(const Tensor& images, const Mode& mode) const {
  State state;
  state.emplace(graph::kInput, images.to(mode.precision).contiguous(kChannelsLast));
  return state;
}

namespace {

/// Executes one operation; the state has its inputs.
template <typename Input, typename Param>
struct Execute {
  const Input& in;     ///< input i
  const Param& param;  ///< the parameter with this suffix
  std::size_t num_inputs;
  const Tensor* residual;  ///< null: none
  bool relu;               ///< whether the step of a batch norm ends in a relu
  at::ScalarType precision;
  bool training;
  MomentsExchange* moments;  ///< moments of batch norms over all processes

  /// Last means, linear layers and the like are computed in f32, because a bf16 sum of many values
  /// stops growing, or in f64 if the whole network is (tests compare such networks).
  at::ScalarType wide() const {
    return precision == torch::kDouble ? torch::kDouble : torch::kFloat;
  }

  Tensor operator()(const graph::Conv& op) const {
    const Tensor bias = op.bias ? param(".bias").to(precision) : Tensor();
    const Tensor weight = param(".weight").to(precision);
    // On a CPU without AVX-512, oneDNN 2.6.3 writes beyond a heap block in the backward pass of a
    // strided 1x1 convolution whose channels do not fill blocks of 8. The same convolution of
    // every stride-th pixel does not.
    if (op.kernel == 1 && op.stride != 1 && op.padding == 0 && in(0).size(1) % 8 != 0) {
      const Tensor sampled = in(0)
                                 .slice(2, 0, in(0).size(2), op.stride.h)
                                 .slice(3, 0, in(0).size(3), op.stride.w)
                                 .contiguous(in(0).suggest_memory_format());
      return torch::conv2d(sampled, weight, bias, at::IntArrayRef({1, 1}), at::IntArrayRef({0, 0}),
                           at::IntArrayRef({1, 1}), op.groups);
    }
    const auto strides = pair(op.stride), dilations = pair(op.dilation);
    if (const auto both = equal_padding(op.padding))
      return torch::conv2d(in(0), weight, bias, strides, at::IntArrayRef(*both), dilations,
                           op.groups);
    const auto& p = op.padding;
    return torch::conv2d(padded(in(0), {p.left, p.right, p.top, p.bottom}, 0), weight, bias,
                         strides, at::IntArrayRef({0, 0}), dilations, op.groups);
  }
  Tensor operator()(const graph::BatchNorm& op) const {
    const BatchNormTensors tensors{param(".weight"), param(".bias"), param(".running_mean"),
                                   param(".running_var")};
    return batch_norm_act(in(0), tensors, residual ? *residual : Tensor(), relu, training,
                          op.momentum, op.eps, moments);
  }
  Tensor operator()(const graph::LayerNorm& op) const {
    // This is computed in f32, because squares in bf16 have only three digits.
    const bool image = in(0).dim() == 4;
    const Tensor last = image ? in(0).permute({0, 2, 3, 1}) : in(0);
    const Tensor normed = torch::layer_norm(last.to(wide()), {last.size(-1)}, param(".weight"),
                                            param(".bias"), op.eps)
                              .to(in(0).scalar_type());
    return image ? normed.permute({0, 3, 1, 2}) : normed;
  }
  Tensor operator()(const graph::Relu&) const { return torch::relu(in(0)); }
  Tensor operator()(const graph::Relu6&) const { return torch::clamp(in(0), 0, 6); }
  Tensor operator()(const graph::Clip& op) const {
    // The ends of f32 stand for no limit; bf16 cannot hold them.
    Tensor x = in(0);
    if (op.min > std::numeric_limits<float>::lowest()) x = torch::clamp_min(x, op.min);
    if (op.max < std::numeric_limits<float>::max()) x = torch::clamp_max(x, op.max);
    return x;
  }
  Tensor operator()(const graph::Sigmoid&) const { return torch::sigmoid(in(0)); }
  Tensor operator()(const graph::HardSigmoid& op) const {
    return torch::clamp(in(0) * op.alpha + op.beta, 0, 1);
  }
  Tensor operator()(const graph::HardSwish&) const { return torch::hardswish(in(0)); }
  Tensor operator()(const graph::Silu&) const { return torch::silu(in(0)); }
  Tensor operator()(const graph::Gelu& op) const {
    return torch::gelu(in(0), op.tanh ? "tanh" : "none");
  }
  Tensor operator()(const graph::Add&) const {
    Tensor sum = in(0) + in(1);
    for (std::size_t i = 2; i < num_inputs; ++i) sum = sum + in(i);
    return sum;
  }
  Tensor operator()(const graph::Multiply&) const {
    // Vectors are in f32, images in the mode's precision.
    Tensor factors = in(1).to(in(0).scalar_type());
    if (factors.dim() != in(0).dim()) factors = factors.unsqueeze(2).unsqueeze(3);
    return in(0) * factors;
  }
  Tensor operator()(const graph::Concat&) const {
    std::vector<Tensor> parts;
    for (std::size_t i = 0; i < num_inputs; ++i) parts.push_back(in(i));
    return torch::cat(parts, 1);
  }
  Tensor operator()(const graph::Slice& op) const {
    return in(0).slice(1, op.begin, op.end).contiguous(kChannelsLast);
  }
  Tensor operator()(const graph::ChannelShuffle& op) const {
    const Tensor& x = in(0);
    const std::int64_t per_group = x.size(1) / op.groups;
    return x.view({x.size(0), op.groups, per_group, x.size(2), x.size(3)})
        .transpose(1, 2)
        .reshape(x.sizes())
        .contiguous(kChannelsLast);
  }
  Tensor operator()(const graph::MaxPool& op) const {
    const auto kernel = pair(op.kernel), strides = pair(op.stride), dilations = pair(op.dilation);
    if (const auto both = equal_padding(op.padding))
      return torch::max_pool2d(in(0), kernel, strides, *both, dilations, op.ceil_mode);
    const Tensor x = padded_for(op, op.dilation, -std::numeric_limits<double>::infinity());
    return torch::max_pool2d(x, kernel, strides, at::IntArrayRef({0, 0}), dilations);
  }
  Tensor operator()(const graph::AvgPool& op) const {
    const auto kernel = pair(op.kernel), strides = pair(op.stride);
    if (const auto both = equal_padding(op.padding))
      return torch::avg_pool2d(in(0), kernel, strides, *both, op.ceil_mode, op.count_include_pad);
    // The sum of every window is divided by the number of its elements that count.
    const Tensor x = padded_for(op, graph::Extent(1), 0);
    const Tensor sums =
        torch::avg_pool2d(x, kernel, strides, at::IntArrayRef({0, 0}), false, true, 1);
    const auto counts = [&](std::int64_t windows, int kernel_side, int stride, int before,
                            std::int64_t size, int after) {
      std::vector<float> values;
      const std::int64_t low = op.count_include_pad ? -before : 0,
                         high = size + (op.count_include_pad ? after : 0);
      for (std::int64_t i = 0; i < windows; ++i) {
        const std::int64_t begin = i * stride - before;
        values.push_back(
            static_cast<float>(std::min(begin + kernel_side, high) - std::max(begin, low)));
      }
      return torch::tensor(values).to(x.device());
    };
    const auto& p = op.padding;
    const Tensor rows =
                     counts(sums.size(2), op.kernel.h, op.stride.h, p.top, in(0).size(2), p.bottom),
                 columns =
                     counts(sums.size(3), op.kernel.w, op.stride.w, p.left, in(0).size(3), p.right);
    return sums / (rows.unsqueeze(1) * columns.unsqueeze(0)).to(sums.scalar_type());
  }
  // Means are computed in f32, because a bf16 sum of many values stops growing.
  Tensor operator()(const graph::AdaptiveAvgPool& op) const {
    return torch::adaptive_avg_pool2d(in(0).to(wide()), pair(op.grid)).to(in(0).scalar_type());
  }
  Tensor operator()(const graph::GlobalAvgPool&) const { return in(0).mean({2, 3}, false, wide()); }
  Tensor operator()(const graph::SpatialPyramidPool& op) const {
    return spatial_pyramid_pool(in(0), op.levels);
  }
  Tensor operator()(const graph::Flatten&) const { return in(0).contiguous().flatten(1); }
  Tensor operator()(const graph::Linear& op) const {
    return torch::linear(in(0).to(wide()), param(".weight"), op.bias ? param(".bias") : Tensor());
  }

 private:
  /// Returns the input of a pool, padded or cut so that exactly the pool's windows fit.
  Tensor padded_for(const auto& pool, const graph::Extent& dilation, double value) const {
    const auto& p = pool.padding;
    const std::int64_t height = in(0).size(2), width = in(0).size(3);
    const auto after = [&](std::int64_t size, int before, int behind, std::int64_t extent,
                           int stride) {
      const std::int64_t room = size + before + behind - extent;
      std::int64_t more = room / stride;  // windows after the first
      if (pool.ceil_mode && room % stride != 0 && (more + 1) * stride < size + before) ++more;
      return more * stride + extent - size - before;
    };
    return padded(
        in(0),
        {p.left,
         after(width, p.left, p.right, graph::dilated(pool.kernel.w, dilation.w), pool.stride.w),
         p.top,
         after(height, p.top, p.bottom, graph::dilated(pool.kernel.h, dilation.h), pool.stride.h)},
        value);
  }
};

}  // namespace

Tensor TorchNetwork::execute(const Step& step, const State& state, const Mode& mode,
                             bool training) {
  const auto input = [&](std::size_t i) -> const Tensor& {
    return state.find(step.inputs[i])->second;
  };
  const auto parameter = [&](const char* suffix) -> const Tensor& {
    return tensors_.find(step.node->name + suffix)->second;
  };
  const Tensor* residual = step.residual.empty() ? nullptr : &state.find(step.residual)->second;
  return std::visit(
      Execute<decltype(input), decltype(parameter)>{input, parameter, step.inputs.size(), residual,
                                                    step.relu, mode.precision, training,
                                                    mode.moments},
      step.node->op);
}

void TorchNetwork::run(const std::vector<Step>& steps, State& state, const Mode& mode,
                       bool training) {
  for (const Step& step : steps) {
    Tensor result = execute(step, state, mode, training);
    for (const std::string& name : step.last_uses) state.erase(name);
    state.insert_or_assign(step.output, std::move(result));
  }
}

void TorchNetwork::run_body(int index, State& state, const Mode& mode) {
  const auto i = static_cast<std::size_t>(index);
  run(bodies_[i], state, mode, mode.training && !mode.frozen_backbone);
  const graph::Segment& segment = graph_.segments[i];
  std::erase_if(state, [&](const auto& entry) {
    const bool handed_on = std::find(segment.outputs.begin(), segment.outputs.end(), entry.first) !=
                           segment.outputs.end();
    return !handed_on && (segment.head.empty() || entry.first != segment.feature);
  });
}

Tensor TorchNetwork::run_head(int index, const State& state, const Mode& mode) {
  const auto i = static_cast<std::size_t>(index);
  const graph::Segment& segment = graph_.segments[i];
  const bool last = index == exits_.back();
  State local;
  local.emplace(segment.feature, state.find(segment.feature)->second);
  run(heads_[i], local, mode, mode.training && !(mode.frozen_backbone && last));
  return local.find(segment.head.back().name)->second;
}

std::vector<TorchNetwork::State> TorchNetwork::features(const Tensor& images, const Mode& mode) {
  torch::NoGradGuard no_grad;
  std::vector<State> result;
  State state = start(images, mode);
  for (int index = 0; index <= exits_.back(); ++index) {
    run_body(index, state, mode);
    const graph::Segment& segment = graph_.segments[static_cast<std::size_t>(index)];
    if (segment.head.empty()) continue;
    result.emplace_back().emplace(segment.feature, state.find(segment.feature)->second);
    std::erase_if(state, [&](const auto& entry) {
      return std::ranges::find(segment.outputs, entry.first) == segment.outputs.end();
    });
  }
  return result;
}

namespace {

// The identity forward; multiplies the gradient by `factor` backward.
struct ScaleGradient : torch::autograd::Function<ScaleGradient> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, double factor) {
    context->saved_data["factor"] = factor;
    return x.view_as(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    return {gradients[0] * context->saved_data["factor"].toDouble(), Tensor()};
  }
};

}  // namespace

std::vector<Tensor> TorchNetwork::forward(const Tensor& images, const Mode& mode) {
  std::vector<Tensor> logits(exits_.size());
  State state = start(images, mode);
  int exit_index = 0;
  for (int index = 0; index < static_cast<int>(graph_.segments.size()); ++index) {
    {
      // A frozen backbone needs no gradients.
      torch::AutoGradMode grad(at::GradMode::is_enabled() && !mode.frozen_backbone);
      run_body(index, state, mode);
    }
    const graph::Segment& segment = graph_.segments[static_cast<std::size_t>(index)];
    if (segment.head.empty()) continue;
    const bool last = index == exits_.back();
    // Equation 4 of Li et al., 2019: with r exits from this one to the last, the gradient from the
    // head is multiplied by 1/r and that from the deeper network by (r - 1)/r.
    const int remaining = num_exits() - exit_index;
    const bool rescale =
        mode.gradient_equilibrium && mode.training && !last && !mode.last_exit_only;
    if (last || !mode.last_exit_only) {
      State feature;
      Tensor x = state.find(segment.feature)->second;
      if (rescale) x = ScaleGradient::apply(x, 1.0 / remaining);
      feature.emplace(segment.feature, x);
      logits[static_cast<std::size_t>(exit_index)] = run_head(index, feature, mode);
    }
    if (!last) {
      std::erase_if(state, [&](const auto& entry) {
        return std::find(segment.outputs.begin(), segment.outputs.end(), entry.first) ==
               segment.outputs.end();
      });
      if (rescale)
        for (auto& [name, tensor] : state)
          tensor = ScaleGradient::apply(tensor, static_cast<double>(remaining - 1) / remaining);
    }
    ++exit_index;
  }
  return logits;
}

}  // namespace offramp::train
