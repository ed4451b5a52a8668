#include "runtime/onednn.h"

#include <array>

namespace offramp::runtime {
namespace {

constexpr std::array kFormats = {Format::channels_last, Format::planes, Format::blocked16,
                                 Format::blocked8, Format::blocked4};

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
    if (desc == dnnl::memory::desc(desc.dims(), desc.data_type(), to_onednn(format))) return format;
  return std::nullopt;
}

}  // namespace offramp::runtime
