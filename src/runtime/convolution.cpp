#include "runtime/convolution.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <tuple>

#include "runtime/memory_plan.h"
#include "runtime/pages.h"

namespace offramp {
namespace {

using dnnl::memory;
using Descriptor = dnnl::convolution_forward::primitive_desc;

/// Of quantised weights: above what f32 cannot divide by.
constexpr double kLeastStep = 1e-30;

/// How good an implementation is, by its name: smaller is better.
int rank_of(const Descriptor& descriptor) {
  const std::string_view name = descriptor.impl_info_str();
  if (name.find("ref") != name.npos) return 2;
  return name.find("gemm") != name.npos ? 1 : 0;
}

/// A grouped convolution as a dense one whose weights are zero between groups: for groups too
/// narrow for any fast implementation.
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
    attr_.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const Element& dst = request.dst;
    dnnl::post_ops post_ops;
    if (!conv_.residual.empty())
      post_ops.append_sum(request.residual.scale / dst.scale, 0, to_onednn(request.residual.dtype));
    // u8 saturates at 0 by itself.
    if (conv_.activation == Activation::relu && dst.dtype != DType::u8)
      append_activation(post_ops, dnnl::algorithm::eltwise_relu, 0, 0);
    if (conv_.activation == Activation::relu6)
      append_activation(post_ops, dnnl::algorithm::eltwise_clip, 0, 6 / dst.scale);
    attr_.set_post_ops(post_ops);
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
    if (!best) throw Error("node \"{}\": oneDNN cannot execute this convolution", request_.name);
    return finish(*best, weights);
  }

 private:
  /// A few kilobytes of weights in groups may be gigabytes without.
  bool may_be_dense() const {
    const auto groups = static_cast<std::size_t>(conv_.conv.groups);
    const std::size_t most = request_.most_bytes / 16 / sizeof(float);
    return groups > 1 && conv_.weights.size() <= most / groups;
  }

  std::optional<Descriptor> chosen() const {
    const auto free = described(std::nullopt);
    if (!request_.src_format) return free;
    const auto given = described(request_.src_format);
    if (!free || !given) return free ? free : given;
    // The same code, or better, without a reorder before it.
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
    const double src = request_.src.scale, dst = request_.dst.scale;
    for (std::size_t o = 0; o < out; ++o) {
      const std::span<const float> weights(conv_.weights.data() + o * per_channel, per_channel);
      float largest = 0;
      for (const float weight : weights) largest = std::max(largest, std::abs(weight));
      // A batch norm may leave next to nothing of a channel but its bias. Steps that are this small
      // beside bias and result change neither, and the bias counted in them would be infinite.
      const double least_unit = kLeastStep * std::max(dst, std::abs(double{conv_.bias[o]}));
      const double scale = std::max({largest / 127.0, least_unit / src, kLeastStep});
      // By hand: lround would be a call for each of millions of weights.
      const auto steps = static_cast<float>(1 / scale);
      for (std::size_t i = 0; i < per_channel; ++i) {
        const float value = weights[i] * steps;
        quantised_[o * per_channel + i] =
            static_cast<std::int8_t>(static_cast<int>(value + std::copysign(0.5f, value)));
      }
      factors_[o] = static_cast<float>(src * scale / dst);
      scaled_bias_[o] = bias_in_units(conv_.bias[o], src * scale, dst);
    }
    set_factors(attr_, factors_, conv_.conv.groups > 1);
  }

  memory::desc weights_desc(memory::data_type type, bool plain) const {
    const std::int64_t out = conv_.conv.out_channels, in = request_.src_shape[0],
                       groups = conv_.conv.groups, kernel = conv_.conv.kernel;
    using tag = memory::format_tag;
    if (groups > 1)
      return {
          {groups, out / groups, in / groups, kernel, kernel}, type, plain ? tag::goihw : tag::any};
    return {{out, in, kernel, kernel}, type, plain ? tag::oihw : tag::any};
  }

  memory::desc image_desc(const Shape& shape, DType dtype, std::optional<Format> format) const {
    return {{request_.batch, shape[0], shape[1], shape[2]},
            to_onednn(dtype),
            format ? to_onednn(*format) : memory::format_tag::any};
  }

  /// nullopt if oneDNN has none, or one whose images lie in a way that we have no word for.
  std::optional<Descriptor> described(std::optional<Format> src_format) const {
    const Conv& conv = conv_.conv;
    const memory::dims strides{conv.stride, conv.stride}, padding{conv.padding, conv.padding};
    const auto type = to_onednn(is_quantised() ? DType::i8 : request_.src.dtype);
    try {
      const Descriptor descriptor = describe_convolution(
          image_desc(request_.src_shape, request_.src.dtype, src_format), weights_desc(type, false),
          {{conv.out_channels}, memory::data_type::f32, memory::format_tag::a},
          image_desc(request_.dst_shape, request_.dst.dtype, std::nullopt), strides, padding,
          attr_);
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
    PrimitiveOperation::Parts parts;
    parts.primitive = dnnl::convolution_forward(descriptor);
    parts.implementation = descriptor.impl_info_str();
    parts.src = descriptor.src_desc();
    parts.dst = descriptor.dst_desc();
    parts.scratchpad = descriptor.scratchpad_desc();
    const bool int8 = is_quantised();
    const auto plain = weights_desc(int8 ? memory::data_type::s8 : f32, true);
    const void* values = int8 ? static_cast<const void*>(quantised_.data()) : conv_.weights.data();
    const std::vector<float>& biases = int8 ? scaled_bias_ : conv_.bias;
    const auto add = [&](int argument, const memory::desc& from, const void* given,
                         const memory::desc& wanted) {
      parts.constants.emplace_back(
          argument, weights.reordered({request_.name, argument, request_.src, request_.dst}, from,
                                      given, wanted, request_.most_bytes));
    };
    add(DNNL_ARG_WEIGHTS, plain, values, descriptor.weights_desc());
    add(DNNL_ARG_BIAS, bias, biases.data(), bias);
    if (const auto factors = factors_argument(); int8 && factors)
      add(*factors, bias, factors_.data(), bias);
    const Layout src{request_.src_shape, request_.src, *format_of(parts.src)};
    const Layout dst{request_.dst_shape, request_.dst, *format_of(parts.dst)};
    return {std::make_shared<PrimitiveOperation>(std::move(parts)), src, dst};
  }

  const ConvolutionRequest& request_;
  FusedConv conv_;
  std::vector<std::int8_t> quantised_;        ///< weights, where src is quantised
  std::vector<float> factors_, scaled_bias_;  ///< one per output channel
  dnnl::primitive_attr attr_;
};

}  // namespace

CompiledConvolution compile_convolution(const ConvolutionRequest& request, PackedWeights& weights) {
  return ConvolutionCompiler(request).compile(weights);
}

}  // namespace offramp
