#include "runtime/onednn.h"

#include <array>
#include <utility>

#define OFFRAMP_ONEDNN_3 (DNNL_VERSION_MAJOR >= 3)

namespace offramp::runtime {
namespace {

constexpr std::array kFormats = {Format::channels_last, Format::planes, Format::blocked16,
                                 Format::blocked8, Format::blocked4};

constexpr auto kInstructionSets = std::to_array<std::pair<dnnl::cpu_isa, std::string_view>>({
  {dnnl::cpu_isa::sse41, "sse41"}, {dnnl::cpu_isa::avx, "avx"}, {dnnl::cpu_isa::avx2, "avx2"},
      {dnnl::cpu_isa::avx2_vnni, "avx2_vnni"}, {dnnl::cpu_isa::avx512_core, "avx512_core"},
      {dnnl::cpu_isa::avx512_core_vnni, "avx512_core_vnni"},
      {dnnl::cpu_isa::avx512_core_bf16, "avx512_core_bf16"},
      {dnnl::cpu_isa::avx512_core_amx, "avx512_core_amx"},
#if OFFRAMP_ONEDNN_3
      {dnnl::cpu_isa::avx2_vnni_2, "avx2_vnni_2"},
      {dnnl::cpu_isa::avx512_core_fp16, "avx512_core_fp16"},
      {dnnl::cpu_isa::avx512_core_amx_fp16, "avx512_core_amx_fp16"},
#endif
});

dnnl::memory::dims dims_of(const dnnl::memory::desc& desc) {
#if OFFRAMP_ONEDNN_3
  return desc.get_dims();
#else
  return desc.dims();
#endif
}

dnnl::memory::data_type type_of(const dnnl::memory::desc& desc) {
#if OFFRAMP_ONEDNN_3
  return desc.get_data_type();
#else
  return desc.data_type();
#endif
}

}  // namespace

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::data_type to_onednn(core::DType dtype) {
  using type = dnnl::memory::data_type;
  switch (dtype) {
    case core::DType::bf16:
      return type::bf16;
    case core::DType::u8:
      return type::u8;
    case core::DType::i8:
      return type::s8;
    default:
      OFFRAMP_ASSERT(dtype == core::DType::f32);
      return type::f32;
  }
}

dnnl::memory::format_tag to_onednn(Format format) {
  using tag = dnnl::memory::format_tag;
  switch (format) {
    case Format::planes:
      return tag::nchw;
    case Format::channels_last:
      return tag::nhwc;
    case Format::blocked4:
      return tag::nChw4c;
    case Format::blocked8:
      return tag::nChw8c;
    case Format::blocked16:
      return tag::nChw16c;
  }
  return tag::undef;
}

dnnl::memory::desc batch_desc(const Layout& layout, int batch) {
  OFFRAMP_ASSERT(layout.shape.size() == 3);
  return {{batch, layout.shape[0], layout.shape[1], layout.shape[2]},
          to_onednn(layout.element.dtype),
          to_onednn(layout.format)};
}

std::optional<Format> format_of(const dnnl::memory::desc& desc) {
  for (const Format format : kFormats)
    if (desc == dnnl::memory::desc(dims_of(desc), type_of(desc), to_onednn(format))) return format;
  return std::nullopt;
}

std::string_view instruction_set() {
  const dnnl::cpu_isa have = dnnl::get_effective_cpu_isa();
  for (const auto& [isa, name] : kInstructionSets)
    if (isa == have) return name;
  return "other";
}

bool has_instruction_set(dnnl::cpu_isa isa) {
  const auto have = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto needed = static_cast<unsigned>(isa);
  return (have & needed) == needed;
}

void append_eltwise(dnnl::post_ops& post_ops, dnnl::algorithm algorithm, float alpha, float beta,
                    float factor) {
#if OFFRAMP_ONEDNN_3
  post_ops.append_eltwise(algorithm, alpha, beta);
  if (factor != 1) post_ops.append_eltwise(dnnl::algorithm::eltwise_linear, factor, 0);
#else
  post_ops.append_eltwise(factor, algorithm, alpha, beta);
#endif
}

void append_hard_swish(dnnl::post_ops& post_ops, float factor) {
#if OFFRAMP_ONEDNN_3
  append_eltwise(post_ops, dnnl::algorithm::eltwise_hardswish, 1.0f / 6, 0.5f, factor);
#else
  append_eltwise(post_ops, dnnl::algorithm::eltwise_hardswish, 0, 0, factor);
#endif
}

dnnl::convolution_forward::primitive_desc describe_convolution(const dnnl::memory::desc& src,
                                                               const dnnl::memory::desc& weights,
                                                               const dnnl::memory::desc& bias,
                                                               const dnnl::memory::desc& dst,
                                                               const ConvolutionWindow& window,
                                                               const dnnl::primitive_attr& attr) {
  constexpr auto kKind = dnnl::prop_kind::forward_inference;
  constexpr auto kAlgorithm = dnnl::algorithm::convolution_direct;
  // oneDNN counts the elements between two of the kernel.
  const dnnl::memory::dims between{window.dilations[0] - 1, window.dilations[1] - 1};
#if OFFRAMP_ONEDNN_3
  return {cpu_engine(), kKind,          kAlgorithm, src,           weights,      bias,
          dst,          window.strides, between,    window.before, window.after, attr};
#else
  const dnnl::convolution_forward::desc desc(kKind, kAlgorithm, src, weights, bias, dst,
                                             window.strides, between, window.before, window.after);
  return {desc, attr, cpu_engine()};
#endif
}

#if OFFRAMP_ONEDNN_3

void multiply_channels(dnnl::primitive_attr&, dnnl::post_ops& post_ops,
                       const std::vector<float>& factors) {
  OFFRAMP_ASSERT(post_ops.len() == 0);
  post_ops.append_binary(dnnl::algorithm::binary_mul, factors_desc(factors.size()));
}

std::optional<int> factors_argument() { return DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1; }

#else

void multiply_channels(dnnl::primitive_attr& attr, dnnl::post_ops&,
                       const std::vector<float>& factors) {
  attr.set_output_scales(1 << 1, factors);
}

std::optional<int> factors_argument() { return std::nullopt; }

#endif

dnnl::memory::desc factors_desc(std::size_t channels) {
  return {{1, static_cast<dnnl::memory::dim>(channels), 1, 1},
          dnnl::memory::data_type::f32,
          dnnl::memory::format_tag::nchw};
}

}  // namespace offramp::runtime
