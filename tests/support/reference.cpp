#include "tests/support/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/error.h"
#include "graph/cost.h"

namespace offramp {
namespace {

using Values = ReferencePredictor::Values;

/// A tensor of one image, with its shape.
struct Operand {
  const Values& values;
  const graph::Shape& shape;

  const double& at(std::int64_t c, std::int64_t y, std::int64_t x) const {
    return values[static_cast<std::size_t>((c * shape[1] + y) * shape[2] + x)];
  }
  bool inside(std::int64_t y, std::int64_t x) const {
    return y >= 0 && y < shape[1] && x >= 0 && x < shape[2];
  }
};

/// Executes one operation on one image.
class Execute {
 public:
  using Weights = std::map<std::string, Values, std::less<>>;

  Execute(const graph::Node& node, const std::vector<Operand>& inputs, const graph::Shape& output,
          const Weights& weights)
      : node_(node), inputs_(inputs), output_(output), weights_(weights) {}

  Values operator()(const graph::Conv& conv) const {
    const Operand& in = inputs_[0];
    const Values& weight = parameter("weight");
    const std::int64_t in_per_group = in.shape[0] / conv.groups;
    const std::int64_t out_per_group = conv.out_channels / conv.groups;
    const std::int64_t height = output_[1], width = output_[2];
    Values out(size(), 0.0);
    for (std::int64_t oc = 0; oc < output_[0]; ++oc) {
      double* plane = &out[static_cast<std::size_t>(oc * height * width)];
      if (conv.bias)
        std::fill_n(plane, height * width, parameter("bias")[static_cast<std::size_t>(oc)]);
      for (std::int64_t i = 0; i < in_per_group; ++i)
        for (int ky = 0; ky < conv.kernel.h; ++ky)
          for (int kx = 0; kx < conv.kernel.w; ++kx) {
            const double w = weight[static_cast<std::size_t>(
                ((oc * in_per_group + i) * conv.kernel.h + ky) * conv.kernel.w + kx)];
            for (std::int64_t oy = 0; oy < height; ++oy) {
              const std::int64_t y = oy * conv.stride.h + ky * conv.dilation.h - conv.padding.top;
              if (y < 0 || y >= in.shape[1]) continue;
              const double* row = &in.at(oc / out_per_group * in_per_group + i, y, 0);
              double* out_row = plane + oy * width;
              for (std::int64_t ox = 0; ox < width; ++ox) {
                const std::int64_t x =
                    ox * conv.stride.w + kx * conv.dilation.w - conv.padding.left;
                if (x >= 0 && x < in.shape[2]) out_row[ox] += w * row[x];
              }
            }
          }
    }
    return out;
  }

  Values operator()(const graph::BatchNorm& norm) const {
    const Operand& in = inputs_[0];
    const std::size_t places = static_cast<std::size_t>(in.shape[1] * in.shape[2]);
    const Values &weight = parameter("weight"), &bias = parameter("bias");
    const Values &mean = parameter("running_mean"), &variance = parameter("running_var");
    Values out;
    out.reserve(size());
    for (std::size_t i = 0; i < in.values.size(); ++i) {
      const std::size_t c = i / places;
      out.push_back((in.values[i] - mean[c]) / std::sqrt(variance[c] + norm.eps) * weight[c] +
                    bias[c]);
    }
    return out;
  }

  Values operator()(const graph::Relu&) const {
    return each([](double x) { return std::max(x, 0.0); });
  }
  Values operator()(const graph::Relu6&) const {
    return each([](double x) { return std::clamp(x, 0.0, 6.0); });
  }
  Values operator()(const graph::Clip& clip) const {
    return each([&](double x) { return std::clamp(x, clip.min, clip.max); });
  }
  Values operator()(const graph::Sigmoid&) const {
    return each([](double x) { return 1 / (1 + std::exp(-x)); });
  }
  Values operator()(const graph::HardSigmoid& op) const {
    return each([&](double x) { return std::clamp(op.alpha * x + op.beta, 0.0, 1.0); });
  }
  Values operator()(const graph::HardSwish&) const {
    return each([](double x) { return x * std::clamp(x + 3, 0.0, 6.0) / 6; });
  }
  Values operator()(const graph::Silu&) const {
    return each([](double x) { return x / (1 + std::exp(-x)); });
  }
  Values operator()(const graph::Gelu& gelu) const {
    return each([&](double x) {
      if (!gelu.tanh) return x / 2 * (1 + std::erf(x / std::numbers::sqrt2));
      const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      return x / 2 * (1 + std::tanh(inner));
    });
  }

  Values operator()(const graph::Add&) const {
    Values out = inputs_[0].values;
    for (std::size_t k = 1; k < inputs_.size(); ++k)
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += inputs_[k].values[i];
    return out;
  }
  Values operator()(const graph::Multiply&) const {
    Values out = inputs_[0].values;
    const Values& factors = inputs_[1].values;
    const std::size_t per_factor = out.size() / factors.size();  // 1, or an image's positions
    for (std::size_t i = 0; i < out.size(); ++i) out[i] *= factors[i / per_factor];
    return out;
  }
  Values operator()(const graph::Concat&) const {
    Values out;
    for (const Operand& in : inputs_) out.insert(out.end(), in.values.begin(), in.values.end());
    return out;
  }
  Values operator()(const graph::Slice& slice) const {
    return channels([&](std::int64_t c) { return slice.begin + c; });
  }
  Values operator()(const graph::ChannelShuffle& shuffle) const {
    const std::int64_t per_group = output_[0] / shuffle.groups;
    return channels(
        [&](std::int64_t c) { return c % shuffle.groups * per_group + c / shuffle.groups; });
  }
  Values operator()(const graph::LayerNorm& norm) const {
    const Values &weight = parameter("weight"), &bias = parameter("bias");
    Values out = inputs_[0].values;
    const std::size_t count = weight.size(), places = out.size() / count;
    for (std::size_t place = 0; place < places; ++place) {
      double mean = 0, variance = 0;
      for (std::size_t c = 0; c < count; ++c) mean += out[c * places + place];
      mean /= static_cast<double>(count);
      for (std::size_t c = 0; c < count; ++c)
        variance += std::pow(out[c * places + place] - mean, 2);
      variance /= static_cast<double>(count);
      for (std::size_t c = 0; c < count; ++c) {
        double& x = out[c * places + place];
        x = (x - mean) / std::sqrt(variance + norm.eps) * weight[c] + bias[c];
      }
    }
    return out;
  }

  Values operator()(const graph::MaxPool& pool) const {
    return windows(pool, pool.dilation, [](const Values& window, int) {
      return *std::max_element(window.begin(), window.end());
    });
  }
  Values operator()(const graph::AvgPool& pool) const {
    return windows(pool, graph::Extent(1), [&](const Values& window, int with_padding) {
      double sum = 0;
      for (const double x : window) sum += x;
      return sum / (pool.count_include_pad ? with_padding : static_cast<double>(window.size()));
    });
  }
  Values operator()(const graph::AdaptiveAvgPool& pool) const {
    const Operand& in = inputs_[0];
    const std::int64_t height = in.shape[1], width = in.shape[2];
    Values out;
    for (std::int64_t c = 0; c < in.shape[0]; ++c)
      for (int by = 0; by < pool.grid.h; ++by)
        for (int bx = 0; bx < pool.grid.w; ++bx) {
          double sum = 0;
          int count = 0;
          for (std::int64_t y = by * height / pool.grid.h; y * pool.grid.h < (by + 1) * height; ++y)
            for (std::int64_t x = bx * width / pool.grid.w; x * pool.grid.w < (bx + 1) * width;
                 ++x, ++count)
              sum += in.at(c, y, x);
          out.push_back(sum / count);
        }
    return out;
  }
  Values operator()(const graph::GlobalAvgPool&) const {
    const Operand& in = inputs_[0];
    const std::size_t places = static_cast<std::size_t>(in.shape[1] * in.shape[2]);
    Values out(static_cast<std::size_t>(in.shape[0]), 0.0);
    for (std::size_t i = 0; i < in.values.size(); ++i) out[i / places] += in.values[i];
    for (double& x : out) x /= static_cast<double>(places);
    return out;
  }

  Values operator()(const graph::SpatialPyramidPool& pool) const {
    const Operand& in = inputs_[0];
    const std::int64_t height = in.shape[1], width = in.shape[2];
    Values out;
    for (const int level : pool.levels)
      for (std::int64_t c = 0; c < in.shape[0]; ++c)
        for (int by = 0; by < level; ++by)
          for (int bx = 0; bx < level; ++bx) {
            double largest = -std::numeric_limits<double>::infinity();
            // Bin `by` covers the rows from floor(by H / level) to ceil((by + 1) H / level) - 1.
            for (std::int64_t y = by * height / level; y * level < (by + 1) * height; ++y)
              for (std::int64_t x = bx * width / level; x * level < (bx + 1) * width; ++x)
                largest = std::max(largest, in.at(c, y, x));
            out.push_back(largest);
          }
    return out;
  }

  Values operator()(const graph::Flatten&) const { return inputs_[0].values; }

  Values operator()(const graph::Linear& linear) const {
    const Values& in = inputs_[0].values;
    const Values& weight = parameter("weight");
    Values out(static_cast<std::size_t>(linear.out_features), 0.0);
    for (std::size_t o = 0; o < out.size(); ++o) {
      if (linear.bias) out[o] = parameter("bias")[o];
      for (std::size_t i = 0; i < in.size(); ++i) out[o] += weight[o * in.size() + i] * in[i];
    }
    return out;
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(core::element_count(output_)); }
  const Values& parameter(std::string_view suffix) const {
    return weights_.find(fmt::format("{}.{}", node_.name, suffix))->second;
  }
  template <typename Function>
  Values each(Function function) const {
    Values out = inputs_[0].values;
    for (double& x : out) x = function(x);
    return out;
  }
  /// Returns an image whose channel c is channel source(c) of the input.
  template <typename Source>
  Values channels(Source source) const {
    const Values& in = inputs_[0].values;
    const std::int64_t places = output_[1] * output_[2];
    Values out;
    out.reserve(size());
    for (std::int64_t c = 0; c < output_[0]; ++c) {
      const auto plane = in.begin() + static_cast<std::ptrdiff_t>(source(c) * places);
      out.insert(out.end(), plane, plane + static_cast<std::ptrdiff_t>(places));
    }
    return out;
  }
  /// Calls `function` for every window with its elements that lie inside the image, and with the
  /// number of its elements including padding, without those beyond the padding.
  template <typename Function>
  Values windows(const auto& pool, const graph::Extent& dilation, Function function) const {
    const Operand& in = inputs_[0];
    const std::int64_t end_y = in.shape[1] + pool.padding.bottom,
                       end_x = in.shape[2] + pool.padding.right;
    Values out, window;
    for (std::int64_t c = 0; c < output_[0]; ++c)
      for (std::int64_t oy = 0; oy < output_[1]; ++oy)
        for (std::int64_t ox = 0; ox < output_[2]; ++ox) {
          window.clear();
          int with_padding = 0;
          for (int ky = 0; ky < pool.kernel.h; ++ky)
            for (int kx = 0; kx < pool.kernel.w; ++kx) {
              const std::int64_t y = oy * pool.stride.h + ky * dilation.h - pool.padding.top,
                                 x = ox * pool.stride.w + kx * dilation.w - pool.padding.left;
              if (in.inside(y, x)) window.push_back(in.at(c, y, x));
              if (y < end_y && x < end_x) ++with_padding;
            }
          out.push_back(function(window, with_padding));
        }
    return out;
  }

  const graph::Node& node_;
  const std::vector<Operand>& inputs_;
  const graph::Shape& output_;
  const Weights& weights_;
};

}  // namespace

ReferencePredictor::ReferencePredictor(graph::Graph graph, const core::Tensors& weights)
    : graph_(std::move(graph)), shapes_(graph::infer_shapes(graph_)) {
  for (const graph::Parameter& parameter : graph::parameters(graph_)) {
    const auto found = weights.find(parameter.name);
    if (found == weights.end())
      throw Error(fmt::format("tensor \"{}\" is missing", parameter.name));
    if (found->second.shape != parameter.shape)
      throw Error(fmt::format("tensor \"{}\": got {}, expected {}", parameter.name,
                              core::to_string(found->second.shape),
                              core::to_string(parameter.shape)));
    const std::vector<float> values = found->second.to_f32();
    weights_.emplace(parameter.name, Values(values.begin(), values.end()));
  }
}

int ReferencePredictor::num_exits() const {
  return static_cast<int>(graph::exit_segments(graph_).size());
}

void ReferencePredictor::run(std::span<const float> images, const core::ExitVisitor& visit) {
  for (std::int64_t n = 0; n < count_images(images); ++n) {
    TensorMap tensors = start(image(images, n));
    int exit_index = 0;
    for (const graph::Segment& segment : graph_.segments) {
      execute(segment.nodes, tensors);
      if (segment.head.empty()) continue;
      const Values& exact = run_head(segment, tensors);
      std::vector<float> rounded;
      for (const double x : exact) rounded.push_back(static_cast<float>(x));
      if (visit(n, {exit_index, rounded})) break;
      ++exit_index;
    }
  }
}

ReferencePredictor::Values ReferencePredictor::logits(std::span<const float> images) {
  const std::int64_t count = count_images(images);
  const std::size_t classes = static_cast<std::size_t>(graph_.classes);
  Values all(static_cast<std::size_t>(num_exits() * count) * classes);
  for (std::int64_t n = 0; n < count; ++n) {
    TensorMap tensors = start(image(images, n));
    std::int64_t exit_index = 0;
    for (const graph::Segment& segment : graph_.segments) {
      execute(segment.nodes, tensors);
      if (segment.head.empty()) continue;
      const Values& logits = run_head(segment, tensors);
      const std::size_t row = static_cast<std::size_t>(exit_index * count + n);
      std::copy(logits.begin(), logits.end(),
                all.begin() + static_cast<std::ptrdiff_t>(row * classes));
      ++exit_index;
    }
  }
  return all;
}

ReferencePredictor::TensorMap ReferencePredictor::tensors(std::span<const float> one) {
  TensorMap tensors = start(one);
  for (const graph::Segment& segment : graph_.segments) {
    execute(segment.nodes, tensors);
    execute(segment.head, tensors);
  }
  return tensors;
}

ReferencePredictor::TensorMap ReferencePredictor::start(std::span<const float> one) const {
  TensorMap tensors;
  tensors.emplace(graph::kInput, Values(one.begin(), one.end()));
  return tensors;
}

void ReferencePredictor::execute(const std::vector<graph::Node>& nodes, TensorMap& tensors) {
  for (const graph::Node& node : nodes) {
    std::vector<Operand> inputs;
    std::vector<graph::Shape> input_shapes;
    for (const std::string& name : node.inputs) {
      inputs.push_back({tensors.find(name)->second, shapes_.find(name)->second});
      input_shapes.push_back(inputs.back().shape);
    }
    const graph::Shape& output = shapes_.find(node.name)->second;
    tensors[node.name] = std::visit(Execute(node, inputs, output, weights_), node.op);
    executed_macs_ += graph::count_node(node, input_shapes, output).macs;
  }
}

const ReferencePredictor::Values& ReferencePredictor::run_head(const graph::Segment& segment,
                                                               TensorMap& tensors) {
  execute(segment.head, tensors);
  return tensors.find(segment.head.back().name)->second;
}

std::int64_t ReferencePredictor::count_images(std::span<const float> images) const {
  const auto values = static_cast<std::int64_t>(images.size());
  if (values % image_size() != 0)
    throw Error(fmt::format("{} values are no whole number of images of {}", values, image_size()));
  return values / image_size();
}

std::span<const float> ReferencePredictor::image(std::span<const float> images,
                                                 std::int64_t n) const {
  const auto size = static_cast<std::size_t>(image_size());
  return images.subspan(static_cast<std::size_t>(n) * size, size);
}

}  // namespace offramp
