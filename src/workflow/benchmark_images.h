#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model_file.h"
#include "runtime/precision.h"
#include "workflow/benchmark.h"

namespace offramp::workflow {

/// What is timed: images as the network takes them, and where there are any, their labels.
struct BenchmarkImages {
  std::vector<float> pixels;  ///< [N, C, H, W]
  std::vector<std::int64_t> labels;
  std::string source;

  std::int64_t count(const ModelFile& model) const;
};

/// @param count  0: 512  @throws UsageError if they do not fit into memory
BenchmarkImages random_benchmark_images(const ModelFile& model, std::int64_t count);

/// The test images, each with its label; where they are fewer than all, from all classes alike.
BenchmarkImages test_benchmark_images(const ModelFile& model, const BenchmarkOptions& options,
                                      const Progress& progress);

/// The precisions wanted; without any, all that the CPU has instructions for, int8 only for a model
/// that has ranges. @throws Error for one without instructions
std::vector<Precision> precisions_to_time(const std::vector<Precision>& wanted,
                                          const ModelFile& model);

/// A model that can be timed in int8. Without ranges of its own, those of the images timed will do
/// for a time, but not for an accuracy.
/// @throws Error for images with labels and a model without ranges
ModelFile with_ranges(const ModelFile& model, const BenchmarkImages& images);

/// Writes the network, the first images and its logits in each precision to `options.keep`.
void keep_images_and_logits(const BenchmarkOptions& options, const ModelFile& model,
                            const BenchmarkImages& images, std::vector<Precision> precisions);

}  // namespace offramp::workflow
