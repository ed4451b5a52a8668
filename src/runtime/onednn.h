#pragma once

#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string>

#include "core/error.h"
#include "runtime/layout.h"

namespace offramp {

/// The CPU.
const dnnl::engine& cpu_engine();

dnnl::memory::data_type to_onednn(DType dtype);
dnnl::memory::format_tag to_onednn(Format format);

/// A batch of images of a layout.
dnnl::memory::desc batch_desc(const Layout& layout, int batch);

/// The format of a batch of images; nullopt for one that we have no word for.
std::optional<Format> format_of(const dnnl::memory::desc& desc);

/// Calls work() and turns oneDNN's exceptions into ours: they never leave this folder.
template <typename Work>
auto translate_onednn_errors(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const dnnl::error& error) {
    throw Error("oneDNN: {}", error.what());
  }
}

/// Sets the number of threads that OpenMP gives this thread, for as long as it lives. oneDNN plans
/// a primitive for the number it finds when it is created.
class OmpThreads {
 public:
  explicit OmpThreads(int threads) : before_(omp_get_max_threads()) {
    omp_set_num_threads(threads);
  }
  ~OmpThreads() { omp_set_num_threads(before_); }
  OmpThreads(const OmpThreads&) = delete;
  OmpThreads& operator=(const OmpThreads&) = delete;

 private:
  int before_;
};

}  // namespace offramp
