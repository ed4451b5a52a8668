#include "onnx/network_draft.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/overloaded.h"
#include "graph/output_shape.h"

namespace offramp::onnx {
namespace {

// A ResNet of 1202 layers has about 4,500 operations; a graph in a model file at most 10,000.
constexpr int kMaxDrafts = 40'000;

bool near(double a, double b) { return std::abs(a - b) <= 1e-5 * std::abs(b); }

/// The value at a channel, where one value may stand for all.
float at_channel(const std::vector<float>& values, std::size_t channel) {
  return values.size() == 1 ? values[0] : values[channel];
}

/// scale × x of another draft: what a pattern sees of a tensor that was multiplied by a constant.
struct Scaled {
  double scale = 1;
  int draft = 0;
};

Scaled without_scale(const NetworkDraft& network, int index) {
  const auto* affine = network.as<Affine>(index);
  if (affine == nullptr || !affine->is_scalar() || affine->shift[0] != 0) return {1, index};
  return {affine->scale[0], network[index].inputs[0]};
}

}  // namespace

NetworkDraft::NetworkDraft(const graph::Shape& input) {
  drafts_.push_back({.op = graph::Op(graph::Relu{}), .shape = input});
}

void NetworkDraft::begin_node(std::string source, std::string name) {
  source_ = std::move(source);
  node_name_ = std::move(name);
}

int NetworkDraft::append(graph::Op op, std::vector<int> inputs, core::Tensors parameters,
                         std::string weight_name) {
  if (size() > kMaxDrafts) throw Error("the network has too many operations");
  if (parameters.empty())
    if (const int same = find_same(op, inputs); same != 0) return same;
  std::vector<graph::Shape> shapes;
  for (const int input : inputs) shapes.push_back(shape(input));
  graph::Shape result = graph::output_shape(op, shapes);
  const bool nonnegative = is_nonnegative(op, inputs);
  drafts_.push_back({.op = std::move(op),
                     .inputs = std::move(inputs),
                     .shape = std::move(result),
                     .parameters = std::move(parameters),
                     .weight_name = std::move(weight_name),
                     .source = source_,
                     .node_name = node_name_,
                     .is_nonnegative = nonnegative});
  return size() - 1;
}

bool NetworkDraft::is_nonnegative(const graph::Op& op, const std::vector<int>& inputs) const {
  const auto all_inputs = [&] {
    return std::ranges::all_of(inputs, [&](int input) { return (*this)[input].is_nonnegative; });
  };
  return std::visit(
      core::overloaded{
          [](const core::OneOf<graph::Relu, graph::Relu6, graph::Sigmoid,
                               graph::HardSigmoid> auto&) { return true; },
          [](const graph::Clip& clip) { return clip.min >= 0; },
          [&](const core::OneOf<graph::Add, graph::Multiply, graph::Concat, graph::Slice,
                                graph::ChannelShuffle, graph::MaxPool, graph::AvgPool,
                                graph::AdaptiveAvgPool, graph::GlobalAvgPool,
                                graph::SpatialPyramidPool, graph::Flatten> auto&) {
            return all_inputs();
          },
          [](const core::OneOf<graph::Conv, graph::BatchNorm, graph::LayerNorm, graph::HardSwish,
                               graph::Silu, graph::Gelu, graph::Linear> auto&) { return false; },
      },
      op);
}

int NetworkDraft::find_same(const graph::Op& op, const std::vector<int>& inputs) const {
  constexpr int kNear = 50;
  for (int i = size() - 1; i > std::max(0, size() - kNear); --i) {
    const auto* other = std::get_if<graph::Op>(&(*this)[i].op);
    if (other != nullptr && *other == op && (*this)[i].inputs == inputs) return i;
  }
  return 0;
}

int NetworkDraft::append_piece(DraftOp op, int input, graph::Shape shape) {
  if (size() > kMaxDrafts) throw Error("the network has too many operations");
  drafts_.push_back({.op = std::move(op),
                     .inputs = {input},
                     .shape = std::move(shape),
                     .source = source_,
                     .node_name = node_name_});
  return size() - 1;
}

int NetworkDraft::append_affine(int input, Affine affine) {
  const auto* before = as<Affine>(input);
  // A single value after one value for each channel is not merged with it: the first may be the
  // bias of a layer, and the second a piece of an activation.
  if (before != nullptr &&
      (before->is_scalar() || !affine.is_scalar())) {  // b (a x + s) + t = a b x + (b s + t)
    const std::size_t size = std::max(before->scale.size(), affine.scale.size());
    Affine both;
    for (std::size_t c = 0; c < size; ++c) {
      both.scale.push_back(at_channel(before->scale, c) * at_channel(affine.scale, c));
      both.shift.push_back(at_channel(affine.scale, c) * at_channel(before->shift, c) +
                           at_channel(affine.shift, c));
    }
    affine = std::move(both);
    input = (*this)[input].inputs[0];
  }
  if (affine.is_scalar() && near(affine.scale[0], 1) && affine.shift[0] == 0) return input;
  return append_piece(std::move(affine), input, shape(input));
}

int NetworkDraft::append_clip(int input, double min, double max) {
  if (!(min <= max)) throw Error(fmt::format("the limits {} and {} are out of order", min, max));
  const auto* affine = as<Affine>(input);
  if (min == 0 && std::isfinite(max) && max > 0 && affine != nullptr && affine->is_scalar() &&
      affine->shift[0] != 0) {
    // min(max(a x + b, 0), m) = m hard-sigmoid(x) with alpha = a / m and beta = b / m
    const graph::HardSigmoid op{.alpha = static_cast<double>(affine->scale[0]) / max,
                                .beta = static_cast<double>(affine->shift[0]) / max};
    const int gate = append(op, {(*this)[input].inputs[0]});
    return append_affine(gate, {{static_cast<float>(max)}, {0.0f}});
  }
  constexpr double kLowest = std::numeric_limits<float>::lowest();
  constexpr double kHighest = std::numeric_limits<float>::max();
  if (min == 0 && max >= kHighest) return append(graph::Relu{}, {input});
  if (min == 0 && max == 6) return append(graph::Relu6{}, {input});
  if (min <= kLowest && max >= kHighest) return input;
  return append(graph::Clip{.min = std::max(min, kLowest), .max = std::min(max, kHighest)},
                {input});
}

int NetworkDraft::append_product(int left, int right) {
  for (const auto& [whole, gate_of] : {std::pair{left, right}, std::pair{right, left}}) {
    const Scaled x = without_scale(*this, whole);
    const Scaled gate = without_scale(*this, gate_of);
    const auto inputs = [&] { return (*this)[gate.draft].inputs; };
    const double scale = x.scale * gate.scale;
    if (as<graph::Sigmoid>(gate.draft) != nullptr && x.scale == 1 && inputs()[0] == x.draft)
      return append_affine(append(graph::Silu{}, {x.draft}), {{static_cast<float>(scale)}, {0.0f}});
    if (const auto* hard = as<graph::HardSigmoid>(gate.draft);
        hard != nullptr && inputs()[0] == x.draft && near(hard->alpha, 1.0 / 6) &&
        near(hard->beta, 0.5))
      return append_affine(append(graph::HardSwish{}, {x.draft}),
                           {{static_cast<float>(scale)}, {0.0f}});
    // x (p erf(x / √2) + p) = 2 p GELU(x)
    if (const auto* sum = as<Affine>(gate_of);
        sum != nullptr && sum->is_scalar() && near(sum->scale[0], sum->shift[0])) {
      const int erf = (*this)[gate_of].inputs[0];
      if (as<Erf>(erf) != nullptr) {
        const Scaled inside = without_scale(*this, (*this)[erf].inputs[0]);
        if (inside.draft == x.draft && near(inside.scale, std::sqrt(0.5))) {
          const double twice = 2 * x.scale * static_cast<double>(sum->scale[0]);
          return append_affine(append(graph::Gelu{}, {x.draft}),
                               {{static_cast<float>(twice)}, {0.0f}});
        }
      }
    }
  }
  // Multiply wants the image first and the factor of each channel second.
  if (shape(left).size() < shape(right).size()) std::swap(left, right);
  return append(graph::Multiply{}, {left, right});
}

int as_image(NetworkDraft& network, const NetworkTensor& tensor) {
  const graph::Shape shape = network.shape(tensor.draft);
  if (tensor.view.is_plain(shape)) return tensor.draft;
  if (shape.size() == 3 && tensor.view.rank() == 3 && tensor.view.is_axis(1, 1, shape) &&
      tensor.view.is_axis(2, 2, shape)) {
    const auto& factors = tensor.view.dim(0);
    if (factors.size() == 2 && factors[0].axis == 0 && factors[1].axis == 0 &&
        factors[0].stride == 1 && factors[1].stride == factors[0].size &&
        factors[1].size * factors[1].stride == shape[0])
      return network.append(graph::ChannelShuffle{.groups = static_cast<int>(factors[1].size)},
                            {tensor.draft});
  }
  throw Error(
      "its input has been reshaped or transposed in a way that is not supported: expected "
      "[N,C,H,W]");
}

int as_vector(NetworkDraft& network, const NetworkTensor& tensor,
              std::vector<std::int64_t>& order) {
  order.clear();
  const graph::Shape shape = network.shape(tensor.draft);
  if (tensor.view.rank() != 1)
    throw Error(
        fmt::format("its input has {} dimensions, expected [N,features]", tensor.view.rank() + 1));
  if (shape.size() == 1 && tensor.view.is_plain(shape)) return tensor.draft;
  if (!tensor.view.is_flat(shape)) {
    // The place of each feature in the row-major order of the draft's axes.
    Dims strides(shape.size(), 1);
    for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    order = {0};
    for (const Factor& factor : tensor.view.dim(0)) {
      std::vector<std::int64_t> next;
      next.reserve(order.size() * static_cast<std::size_t>(factor.size));
      const std::int64_t step = factor.stride * strides[static_cast<std::size_t>(factor.axis)];
      for (const std::int64_t base : order)
        for (std::int64_t i = 0; i < factor.size; ++i) next.push_back(base + i * step);
      order = std::move(next);
    }
  }
  return shape.size() == 1 ? tensor.draft : network.append(graph::Flatten{}, {tensor.draft});
}

}  // namespace offramp::onnx
