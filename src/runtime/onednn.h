#pragma once

#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string>

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

/// Calls work() and turns oneDNN's exceptions into Error, because they must not leave this folder.
template <typename Work>
auto translate_onednn_errors(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const dnnl::error& error) {
    throw Error(fmt::format("oneDNN: {}", error.what()));
  }
}

}  // namespace offramp::runtime
