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

/// The widest instruction set that oneDNN may use, in its own word: "avx512_core_vnni".
std::string_view instruction_set();

/// oneDNN's instruction sets are masks: each contains those it builds on.
bool has_instruction_set(dnnl::cpu_isa isa);

// What follows differs between oneDNN 2 and 3; only this file pair knows.

/// Appends a function of each element, whose results are multiplied by `factor`.
void append_eltwise(dnnl::post_ops& post_ops, dnnl::algorithm algorithm, float alpha, float beta,
                    float factor = 1);
/// Appends x min(max(x + 3, 0), 6) / 6, multiplied by `factor`.
void append_hard_swish(dnnl::post_ops& post_ops, float factor);

/// The window of a convolution, in rows and columns.
struct ConvolutionWindow {
  dnnl::memory::dims strides, dilations;  ///< 1: the elements of the kernel are side by side
  dnnl::memory::dims before, after;       ///< the padding
};

/// Of a convolution forward, for inference.
/// @throws dnnl::error, dnnl_unimplemented if oneDNN has none
dnnl::convolution_forward::primitive_desc describe_convolution(const dnnl::memory::desc& src,
                                                               const dnnl::memory::desc& weights,
                                                               const dnnl::memory::desc& bias,
                                                               const dnnl::memory::desc& dst,
                                                               const ConvolutionWindow& window,
                                                               const dnnl::primitive_attr& attr);

/// An 8-bit convolution multiplies its sums by one factor per output channel, which brings them to
/// dst's scale. oneDNN 2 has the factors in the attributes, and multiplies sum and bias by them;
/// oneDNN 3 takes them as an argument (`factors_argument`), and adds the bias after.
void set_factors(dnnl::primitive_attr& attr, const std::vector<float>& factors, bool has_groups);

/// The argument of a primitive for the factors; nullopt where the attributes have them.
std::optional<int> factors_argument();

/// The bias in the unit in which oneDNN adds it.
/// @param sum_unit  of the sums of products
/// @param dst_unit  of dst
float bias_in_units(double bias, double sum_unit, double dst_unit);

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
