#include "runtime/convolution.h"

#include <algorithm>
#include <cstring>

#include "runtime/memory_plan.h"
#include "runtime/pages.h"

namespace offramp {
namespace {

using dnnl::memory;
using Descriptor = dnnl::convolution_forward::primitive_desc;

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
    dnnl::post_ops post_ops;
    if (!conv_.residual.empty()) post_ops.append_sum(1);
    if (conv_.activation == Activation::relu)
      post_ops.append_eltwise(1, dnnl::algorithm::eltwise_relu, 0, 0);
    if (conv_.activation == Activation::relu6)
      post_ops.append_eltwise(1, dnnl::algorithm::eltwise_clip, 0, 6);
    attr_.set_post_ops(post_ops);
  }

  CompiledConvolution compile(WeightStore& weights) {
    std::optional<Descriptor> best = chosen();
    if ((!best || rank_of(*best) == 2) && conv_.conv.groups > 1) {
      FusedConv grouped = std::move(conv_);
      conv_ = without_groups(grouped);
      const std::optional<Descriptor> dense = chosen();
      if (dense && (!best || rank_of(*dense) < rank_of(*best)))
        best = dense;
      else
        conv_ = std::move(grouped);
    }
    if (!best) throw Error("node \"{}\": oneDNN cannot execute this convolution", request_.name);
    return finish(*best, weights);
  }

 private:
  std::optional<Descriptor> chosen() const {
    if (request_.winograd && wino_fits())
      if (auto found = described(std::nullopt, dnnl::algorithm::convolution_winograd);
          found && rank_of(*found) == 0)
        return found;
    const auto direct = dnnl::algorithm::convolution_direct;
    const auto free = described(std::nullopt, direct);
    if (!request_.src_format) return free;
    const auto given = described(request_.src_format, direct);
    if (!free || !given) return free ? free : given;
    // The same code, or better, without a reorder before it.
    const bool same = std::strcmp(free->impl_info_str(), given->impl_info_str()) == 0;
    return same || rank_of(*given) < rank_of(*free) ? given : free;
  }

  bool wino_fits() const {
    return conv_.conv.kernel == 3 && conv_.conv.stride == 1 && conv_.conv.groups == 1 &&
           request_.dtype == DType::f32;
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

  memory::desc image_desc(const Shape& shape, std::optional<Format> format) const {
    return {{request_.batch, shape[0], shape[1], shape[2]},
            to_onednn(request_.dtype),
            format ? to_onednn(*format) : memory::format_tag::any};
  }

  /// nullopt if oneDNN has none, or one whose images lie in a way that we have no word for.
  std::optional<Descriptor> described(std::optional<Format> src_format,
                                      dnnl::algorithm algorithm) const {
    const Conv& conv = conv_.conv;
    const memory::dims strides{conv.stride, conv.stride}, padding{conv.padding, conv.padding};
    const auto type = to_onednn(request_.dtype);
    try {
      const dnnl::convolution_forward::desc desc(
          dnnl::prop_kind::forward_inference, algorithm, image_desc(request_.src_shape, src_format),
          weights_desc(type, false),
          {{conv.out_channels}, memory::data_type::f32, memory::format_tag::a},
          image_desc(request_.dst_shape, std::nullopt), strides, padding, padding);
      const Descriptor descriptor(desc, attr_, cpu_engine());
      if (!format_of(descriptor.src_desc()) || !format_of(descriptor.dst_desc()))
        return std::nullopt;
      return descriptor;
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
      return std::nullopt;
    }
  }

  CompiledConvolution finish(const Descriptor& descriptor, WeightStore& weights) const {
    const auto f32 = memory::data_type::f32;
    const memory::desc bias({conv_.conv.out_channels}, f32, memory::format_tag::a);
    PrimitiveOperation::Parts parts;
    parts.primitive = dnnl::convolution_forward(descriptor);
    parts.implementation = descriptor.impl_info_str();
    parts.src = descriptor.src_desc();
    parts.dst = descriptor.dst_desc();
    parts.scratchpad = descriptor.scratchpad_desc();
    parts.constants = {
        {DNNL_ARG_WEIGHTS, weights.reordered(request_.name, weights_desc(f32, true), conv_.weights,
                                             descriptor.weights_desc())},
        {DNNL_ARG_BIAS, weights.reordered(request_.name, bias, conv_.bias, bias)}};
    const Layout src{request_.src_shape, request_.dtype, *format_of(parts.src)};
    const Layout dst{request_.dst_shape, request_.dtype, *format_of(parts.dst)};
    return {std::make_shared<PrimitiveOperation>(std::move(parts)), src, dst};
  }

  const ConvolutionRequest& request_;
  FusedConv conv_;
  dnnl::primitive_attr attr_;
};

}  // namespace

SharedMemory WeightStore::allocate(const memory::desc& desc) {
  // Side by side, so that many small weights share huge pages.
  constexpr std::size_t kChunk = std::size_t{1} << 22;
  const std::size_t bytes = aligned(desc.get_size());
  if (used_ + bytes > chunk_bytes_) {
    chunk_bytes_ = std::max(bytes, kChunk);
    chunk_ = allocate_pages(chunk_bytes_);
    used_ = 0;
  }
  std::byte* place = chunk_.get() + used_;
  used_ += bytes;
  bytes_ += bytes;
  return {memory(desc, cpu_engine(), place), chunk_};
}

SharedMemory WeightStore::reordered(const std::string& name, const memory::desc& plain_desc,
                                    const std::vector<float>& plain, const memory::desc& wanted) {
  std::vector<SharedMemory>& made = made_[name];
  for (const SharedMemory& one : made)
    if (one.memory.get_desc() == wanted) return one;
  // oneDNN reads it and does not write.
  memory src(plain_desc, cpu_engine(), const_cast<float*>(plain.data()));
  SharedMemory dst = allocate(wanted);
  dnnl::stream stream(cpu_engine());
  dnnl::reorder(src, dst.memory).execute(stream, src, dst.memory);
  stream.wait();
  return made.emplace_back(std::move(dst));
}

CompiledConvolution compile_convolution(const ConvolutionRequest& request, WeightStore& weights) {
  return ConvolutionCompiler(request).compile(weights);
}

}  // namespace offramp
