#pragma once

#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "runtime/layout.h"
#include "runtime/omp_threads.h"

namespace offramp::runtime {

/// oneDNN's engine for the CPU.
const dnnl::engine& cpu_engine();

dnnl::memory::data_type to_onednn(core::DType dtype);
dnnl::memory::format_tag to_onednn(Format format);

/// The oneDNN descriptor of a batch of images with this layout.
dnnl::memory::desc batch_desc(const Layout& layout, int batch);

/// The format of a batch of images; nullopt if it is not in Format.
std::optional<Format> format_of(const dnnl::memory::desc& desc);

/// The widest instruction set that oneDNN may use, by oneDNN's name: "avx512_core_vnni".
std::string_view instruction_set();

/// oneDNN's instruction sets are masks: each contains those it builds on.
bool has_instruction_set(dnnl::cpu_isa isa);

// The following functions hide the differences between oneDNN 2 and 3; no other file knows them.

/// Appends a function of each element, whose results are multiplied by `factor`.
void append_eltwise(dnnl::post_ops& post_ops, dnnl::algorithm algorithm, float alpha, float beta,
                    float factor = 1);
/// Appends x min(max(x + 3, 0), 6) / 6, multiplied by `factor`.
void append_hard_swish(dnnl::post_ops& post_ops, float factor);

/// The window of a convolution, in rows and columns.
struct ConvolutionWindow {
  /// A dilation of 1 means that the elements of the kernel are adjacent.
  dnnl::memory::dims strides, dilations;
  dnnl::memory::dims before, after;  ///< the padding
};

/// Makes the primitive descriptor of a forward convolution for inference. @throws dnnl::error,
/// dnnl_unimplemented if oneDNN has none
dnnl::convolution_forward::primitive_desc describe_convolution(const dnnl::memory::desc& src,
                                                               const dnnl::memory::desc& weights,
                                                               const dnnl::memory::desc& bias,
                                                               const dnnl::memory::desc& dst,
                                                               const ConvolutionWindow& window,
                                                               const dnnl::primitive_attr& attr);

/// Makes an 8-bit convolution multiply its sums, bias included, by one factor per output channel,
/// which brings them to dst's scale, before any other operation on them. oneDNN 2 has the factors
/// in the attributes. oneDNN 3 would multiply before it adds the bias, which rounds otherwise and
/// gives other logits; there the factors are a post-op, which takes them as an argument.
/// @param post_ops  post-ops of the convolution, still empty
void multiply_channels(dnnl::primitive_attr& attr, dnnl::post_ops& post_ops,
                       const std::vector<float>& factors);

/// The argument of a primitive for the factors of multiply_channels; nullopt where the attributes
/// have them.
std::optional<int> factors_argument();

/// The descriptor of the factors, one value per channel of a batch of images.
dnnl::memory::desc factors_desc(std::size_t channels);

/// Calls work() and turns oneDNN's exceptions into ours: they never leave this folder.
template <typename Work>
auto translate_onednn_errors(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const dnnl::error& error) {
    throw Error(fmt::format("oneDNN: {}", error.what()));
  }
}

}  // namespace offramp::runtime
