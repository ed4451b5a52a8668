#include "runtime/convolution.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <tuple>

#include "runtime/huge_pages.h"
#include "runtime/memory_plan.h"

namespace offramp::runtime {
namespace {

using dnnl::memory;
using Descriptor = dnnl::convolution_forward::primitive_desc;

/// The smallest step of quantised weights. Division by a smaller step could overflow in f32.
constexpr double kMinWeightStep = 1e-30;

/// Ranks oneDNN's implementations by their names: 0 is the fastest kind, 2 the slowest.
int rank_of(const Descriptor& descriptor) {
  const std::string_view name = descriptor.impl_info_str();
  if (name.find("ref") != name.npos) return 2;
  return name.find("gemm") != name.npos ? 1 : 0;
}

/// Converts a grouped convolution to a dense one whose weights between groups are zero. This is
/// faster if the groups are too narrow for any fast implementation.
FusedConv without_groups(const FusedConv& grouped) {
  FusedConv dense = grouped;
  const auto groups = static_cast<std::size_t>(grouped.conv.groups);
  const std::size_t out = grouped.bias.size(), per_group = grouped.weights.size() / out;
  dense.conv.groups = 1;
  dense.weights.assign(out * per_group * groups, 0.0f);
  for (std::size_t o = 0; o < out; ++o) {
    const std::size_t group = o / (out / groups);
    std::copy_n(
        grouped.weights.begin() + static_cast<std::ptrdiff_t>(o * per_group), per_group,
        dense.weights.begin() + static_cast<std::ptrdiff_t>((o * groups + group) * per_group));
  }
  return dense;
}

class ConvolutionCompiler {
 public:
  explicit ConvolutionCompiler(const ConvolutionRequest& request)
      : request_(request), conv_(*request.conv) {
    if (conv_.activation.is_clamp()) sum_unit_ = request.dst.scale;
    if (is_quantised()) quantise_weights();
  }

  CompiledConvolution compile(PackedWeights& weights) {
    std::optional<Descriptor> best = chosen();
    if ((!best || rank_of(*best) == 2) && may_be_dense()) {
      const FusedConv grouped = conv_;
      const std::vector<std::int8_t> quantised = quantised_;
      conv_ = without_groups(grouped);
      if (is_quantised()) quantise_weights();
      const std::optional<Descriptor> dense = chosen();
      if (dense && (!best || rank_of(*dense) < rank_of(*best)))
        best = dense;
      else
        std::tie(conv_, quantised_) = std::tie(grouped, quantised);
    }
    if (!best)
      throw Error(
          fmt::format("node \"{}\": oneDNN cannot execute this convolution", request_.name));
    return finish(*best, weights);
  }

 private:
  void append_activation(dnnl::post_ops& post_ops) const {
    using Kind = Activation::Kind;
    using dnnl::algorithm;
    const Activation& activation = conv_.activation;
    const float per_unit = 1 / request_.dst.scale;
    switch (activation.kind) {
      case Kind::clamp:
        // Conversion to u8 saturates at 0, so relu needs no operation.
        if (activation.is_none() || (activation == kRelu && request_.dst.dtype == core::DType::u8))
          break;
        if (activation == kRelu)
          append_eltwise(post_ops, algorithm::eltwise_relu, 0, 0);
        else
          append_eltwise(post_ops, algorithm::eltwise_clip, activation.a * per_unit,
                         activation.b * per_unit);
        break;
      case Kind::sigmoid:
        append_eltwise(post_ops, algorithm::eltwise_logistic, 0, 0, per_unit);
        break;
      case Kind::hard_sigmoid:
        append_eltwise(post_ops, algorithm::eltwise_linear, activation.a, activation.b);
        append_eltwise(post_ops, algorithm::eltwise_clip, 0, 1, per_unit);
        break;
      case Kind::hard_swish:
        append_hard_swish(post_ops, per_unit);
        break;
      case Kind::silu:
        append_eltwise(post_ops, algorithm::eltwise_swish, 1, 0, per_unit);
        break;
      case Kind::gelu:
        append_eltwise(post_ops, algorithm::eltwise_gelu_erf, 0, 0, per_unit);
        break;
      case Kind::gelu_tanh:
        append_eltwise(post_ops, algorithm::eltwise_gelu_tanh, 0, 0, per_unit);
        break;
    }
  }

  /// Whether the dense form is small enough: a few kilobytes of grouped weights can become
  /// gigabytes of dense ones.
  bool may_be_dense() const {
    const auto groups = static_cast<std::size_t>(conv_.conv.groups);
    const std::size_t most = request_.max_bytes / 16 / sizeof(float);
    return groups > 1 && conv_.weights.size() <= most / groups;
  }

  std::optional<Descriptor> chosen() const {
    auto free = described(std::nullopt);
    if (!request_.src_format) return free;
    const auto given = described(request_.src_format);
    if (!free || !given) return free ? free : given;
    // The given format saves a reorder. It is taken unless its implementation is slower.
    const bool same = std::strcmp(free->impl_info_str(), given->impl_info_str()) == 0;
    return same || rank_of(*given) < rank_of(*free) ? given : free;
  }

  bool is_quantised() const { return request_.src.is_quantised(); }

  /// One scale per output channel: the largest weight is 127.
  void quantise_weights() {
    const std::size_t out = conv_.bias.size(), per_channel = conv_.weights.size() / out;
    quantised_.resize(conv_.weights.size());
    factors_.resize(out);
    scaled_bias_.resize(out);
    const double src = request_.src.scale, unit = sum_unit_;
    for (std::size_t o = 0; o < out; ++o) {
      const std::span<const float> weights(conv_.weights.data() + o * per_channel, per_channel);
      float largest = 0;
      for (const float weight : weights) largest = std::max(largest, std::abs(weight));
      // A folded batch norm can make all weights of a channel almost zero. Their scale is bounded
      // from below: the bias, divided by a smaller one, would overflow, while weights below the
      // bound are too small to change the result.
      const double least_unit = kMinWeightStep * std::max(unit, std::abs(double{conv_.bias[o]}));
      const double scale = std::max({largest / 127.0, least_unit / src, kMinWeightStep});
      // The rounding is written out because std::lround would be a call for each weight.
      const auto steps = static_cast<float>(1 / scale);
      for (std::size_t i = 0; i < per_channel; ++i) {
        const float value = weights[i] * steps;
        quantised_[o * per_channel + i] =
            static_cast<std::int8_t>(static_cast<int>(value + std::copysign(0.5f, value)));
      }
      factors_[o] = static_cast<float>(src * scale / unit);
      // The bias is in the unit of the sums.
      scaled_bias_[o] = static_cast<float>(conv_.bias[o] / (src * scale));
    }
  }

  dnnl::primitive_attr attributes() const {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::post_ops post_ops;
    if (is_quantised()) multiply_channels(attr, post_ops, factors_);
    if (!conv_.residual.empty())
      post_ops.append_sum(request_.residual.scale / sum_unit_, 0,
                          to_onednn(request_.residual.dtype));
    append_activation(post_ops);
    attr.set_post_ops(post_ops);
    return attr;
  }

  memory::desc weights_desc(memory::data_type type, bool plain) const {
    const std::int64_t out = conv_.conv.out_channels, in = request_.src_shape[0],
                       groups = conv_.conv.groups, height = conv_.conv.kernel.h,
                       width = conv_.conv.kernel.w;
    using tag = memory::format_tag;
    if (groups > 1)
      return {
          {groups, out / groups, in / groups, height, width}, type, plain ? tag::goihw : tag::any};
    return {{out, in, height, width}, type, plain ? tag::oihw : tag::any};
  }

  memory::desc image_desc(const graph::Shape& shape, core::DType dtype,
                          std::optional<Format> format) const {
    return {{request_.batch, shape[0], shape[1], shape[2]},
            to_onednn(dtype),
            format ? to_onednn(*format) : memory::format_tag::any};
  }

  /// Asks oneDNN for an implementation. @return nullopt if there is none, or if the layout of its
  /// images is not in Format
  std::optional<Descriptor> described(std::optional<Format> src_format) const {
    const graph::Conv& conv = conv_.conv;
    const ConvolutionWindow window{{conv.stride.h, conv.stride.w},
                                   {conv.dilation.h, conv.dilation.w},
                                   {conv.padding.top, conv.padding.left},
                                   {conv.padding.bottom, conv.padding.right}};
    const auto type = to_onednn(is_quantised() ? core::DType::i8 : request_.src.dtype);
    try {
      const Descriptor descriptor = describe_convolution(
          image_desc(request_.src_shape, request_.src.dtype, src_format), weights_desc(type, false),
          {{conv.out_channels}, memory::data_type::f32, memory::format_tag::a},
          image_desc(request_.dst_shape, request_.dst.dtype, std::nullopt), window, attributes());
      if (!format_of(descriptor.src_desc()) || !format_of(descriptor.dst_desc()))
        return std::nullopt;
      return descriptor;
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
      return std::nullopt;
    }
  }

  CompiledConvolution finish(const Descriptor& descriptor, PackedWeights& weights) const {
    const auto f32 = memory::data_type::f32;
    const memory::desc bias({conv_.conv.out_channels}, f32, memory::format_tag::a);
    auto parts = OnednnOperation::Parts::of<dnnl::convolution_forward>(descriptor);
    const bool int8 = is_quantised();
    const auto plain = weights_desc(int8 ? memory::data_type::s8 : f32, true);
    const void* values = int8 ? static_cast<const void*>(quantised_.data()) : conv_.weights.data();
    const std::vector<float>& biases = int8 ? scaled_bias_ : conv_.bias;
    const auto add = [&](int argument, const memory::desc& from, const void* given,
                         const memory::desc& wanted) {
      parts.constants.emplace_back(
          argument, weights.reordered({request_.name, argument, request_.src, request_.dst}, from,
                                      given, wanted, request_.max_bytes));
    };
    add(DNNL_ARG_WEIGHTS, plain, values, descriptor.weights_desc());
    add(DNNL_ARG_BIAS, bias, biases.data(), bias);
    if (const auto argument = factors_argument(); int8 && argument) {
      const memory::desc factors = factors_desc(factors_.size());
      add(*argument, factors, factors_.data(), factors);
    }
    const Layout src{request_.src_shape, request_.src, *format_of(parts.src)};
    const Layout dst{request_.dst_shape, request_.dst, *format_of(parts.dst)};
    return {std::make_shared<OnednnOperation>(std::move(parts)), src, dst};
  }

  const ConvolutionRequest& request_;
  FusedConv conv_;
  std::vector<std::int8_t> quantised_;        ///< weights, where src is quantised
  std::vector<float> factors_, scaled_bias_;  ///< one per output channel
  float sum_unit_ = 1;  ///< the unit of sums before the activation: dst's scale, or 1
};

}  // namespace

CompiledConvolution compile_convolution(const ConvolutionRequest& request, PackedWeights& weights) {
  return ConvolutionCompiler(request).compile(weights);
}

}  // namespace offramp::runtime
