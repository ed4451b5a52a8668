#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model_file.h"
#include "runtime/precision.h"
#include "workflow/benchmark.h"

namespace offramp::workflow {

/// The images that are timed, normalised for the network.
struct BenchmarkImages {
  std::vector<float> pixels;         ///< [N, C, H, W]
  std::vector<std::int64_t> labels;  ///< [N]; empty for random images
  std::string source;                ///< description for people

  /// Returns N.

  std::int64_t count(const model::ModelFile& model) const;
};

/// Makes images of random numbers, the same ones in every run.
/// @param count  number of images; 0: 512  @throws UsageError if they need more than 1 GiB
BenchmarkImages random_benchmark_images(const model::ModelFile& model, std::int64_t count);

/// Loads test images with their labels. If `options.images` asks for fewer than there are, they are
/// taken at regular intervals, so that every class is present.
BenchmarkImages test_benchmark_images(const model::ModelFile& model,
                                      const BenchmarkOptions& options, const Progress& progress);

/// Returns `wanted`; if it is empty, all precisions that the CPU has instructions for, with int8
/// only for a model that holds ranges of activations.
/// @throws Error if the CPU has no instructions for a wanted precision
std::vector<runtime::Precision> precisions_to_time(const std::vector<runtime::Precision>& wanted,
                                                   const model::ModelFile& model);

/// Returns a model that can run in int8. If `model` has no ranges of activations, they are observed
/// on the timed images; this is good enough to measure time, but not accuracy.
/// @throws Error if the model has no ranges and the images have labels
model::ModelFile with_ranges(const model::ModelFile& model, const BenchmarkImages& images);

/// Checks that writing to `options.keep` overwrites no model but that of an earlier benchmark.
/// @throws UsageError if it would
void check_keep_folder(const BenchmarkOptions& options);
/// Writes the network, the first 64 images and their logits in each precision to `options.keep`.
void export_images_and_logits(const BenchmarkOptions& options, const model::ModelFile& model,
                              const BenchmarkImages& images,
                              std::vector<runtime::Precision> precisions);

}  // namespace offramp::workflow
