#include "workflow/benchmark_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "core/version.h"
#include "engine/opened_model.h"
#include "graph/random_weights.h"
#include "runtime/activation_ranges.h"
#include "workflow/certificate_count.h"
#include "workflow/output_file.h"
#include "workflow/provenance.h"
#include "workflow/run_folder.h"
#include "workflow/selected_images.h"

namespace offramp::workflow {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kRandomImages = 512;
// Limit on the values of all images, as floats: 1 GiB.
constexpr std::int64_t kMaxPixels = std::int64_t{1} << 28;
constexpr std::int64_t kKeptImages = 64;
constexpr std::int64_t kImagesForRanges = 16;

bool has_ranges(const model::ModelFile& model) {
  return model.deployment && !model.deployment->ranges.empty();
}

}  // namespace

std::int64_t BenchmarkImages::count(const model::ModelFile& model) const {
  return static_cast<std::int64_t>(pixels.size()) / core::element_count(model.graph.input);
}

BenchmarkImages random_benchmark_images(const model::ModelFile& model, std::int64_t count) {
  if (count == 0) count = kRandomImages;
  if (count > kMaxPixels / core::element_count(model.graph.input))
    throw UsageError(
        fmt::format("images: {} images need more than 1 GiB of memory; ask for fewer", count));
  return {graph::random_images(model.graph, static_cast<int>(count), 1), {}, "random images"};
}

BenchmarkImages test_benchmark_images(const model::ModelFile& model,
                                      const BenchmarkOptions& options, const Progress& progress) {
  const data::LoadedData loaded =
      data::load_data(options.data, data::Part::test, load_options(model));
  const data::Dataset& data = loaded.dataset;
  std::vector<std::int64_t> indices =
      images_to_test(options.model, model, loaded, options.skip_trained);
  const auto size = static_cast<std::size_t>(core::element_count(model.graph.input));
  const auto most = static_cast<std::size_t>(kMaxPixels) / size;
  const std::size_t count = std::min(
      {indices.size(), most, options.images > 0 ? static_cast<std::size_t>(options.images) : most});
  indices = take_evenly(indices, static_cast<std::int64_t>(count));
  const auto number = static_cast<std::int64_t>(indices.size());
  log_test_read(options.model, {options.command, loaded.source, number}, progress);
  count_shown_certify_images(options.model, model,
                             {&data, &indices, loaded.source, options.command}, progress);
  BenchmarkImages images;
  images.source = fmt::format("{} test images of {}", core::with_commas(number), loaded.source);
  normalise_images(data, indices, model.preprocessing, images.pixels);
  for (const std::int64_t index : indices)
    images.labels.push_back(data.labels[static_cast<std::size_t>(index)]);
  return images;
}

std::vector<runtime::Precision> precisions_to_time(const std::vector<runtime::Precision>& wanted,
                                                   const model::ModelFile& model) {
  for (const runtime::Precision precision : wanted)
    if (!runtime::has_instructions_for(precision))
      throw Error(fmt::format("this CPU has no instructions for {}", to_string(precision)));
  if (!wanted.empty()) return wanted;
  std::vector<runtime::Precision> precisions;
  for (const runtime::Precision precision :
       {runtime::Precision::f32, runtime::Precision::bf16, runtime::Precision::int8}) {
    const bool known = precision != runtime::Precision::int8 || has_ranges(model);
    if (known && runtime::has_instructions_for(precision)) precisions.push_back(precision);
  }
  return precisions;
}

model::ModelFile with_ranges(const model::ModelFile& model, const BenchmarkImages& images) {
  if (has_ranges(model)) return model;
  if (!images.labels.empty())
    throw Error(
        "int8 needs ranges of activations, which this model does not hold; use a file that "
        "\"offramp quantize\" wrote");
  const std::int64_t size = core::element_count(model.graph.input);
  const auto seen =
      static_cast<std::size_t>(std::min(kImagesForRanges, images.count(model)) * size);
  model::ModelFile result = model;
  result.deployment = model::Deployment{
      "int8",
      runtime::observe_ranges(model.graph, model.weights, std::span(images.pixels).first(seen), 1),
      {}};
  return result;
}

void check_keep_folder(const BenchmarkOptions& options) {
  const fs::path network = options.keep / "model.safetensors",
                 answers = options.keep / "answers.safetensors";
  for (const fs::path& out : {network, answers})
    refuse_same_file("keep", out, {options.model, options.data});
  std::error_code ignored;
  // A folder with both files is one that was written by an earlier benchmark.
  if (fs::exists(RunFolder(options.keep).checkpoint(), ignored) ||
      (fs::exists(network, ignored) && !fs::exists(answers, ignored)))
    throw UsageError(fmt::format(
        "keep: {} holds a trained model, which would be overwritten; choose another folder",
        options.keep.string()));
}

void export_images_and_logits(const BenchmarkOptions& options, const model::ModelFile& model,
                              const BenchmarkImages& images,
                              std::vector<runtime::Precision> precisions) {
  const fs::path network = options.keep / "model.safetensors",
                 answers = options.keep / "answers.safetensors";
  std::error_code failed;
  fs::create_directories(options.keep, failed);
  if (failed) throw Error(fmt::format("{}: {}", options.keep.string(), failed.message()));
  check_keep_folder(options);
  for (const fs::path& out : {network, answers}) core::check_writable(out);
  model::save_model(network, model);
  const std::int64_t count = std::min(images.count(model), kKeptImages);
  const std::span<const float> pixels =
      std::span(images.pixels)
          .first(static_cast<std::size_t>(count * core::element_count(model.graph.input)));
  graph::Shape shape = {count};
  shape.insert(shape.end(), model.graph.input.begin(), model.graph.input.end());
  core::Tensors tensors;
  tensors.emplace("images", core::HostTensor::of(shape, pixels));
  if (std::ranges::count(precisions, runtime::Precision::f32) == 0)
    precisions.push_back(runtime::Precision::f32);
  for (const runtime::Precision precision : precisions) {
    engine::OpenOptions how;
    how.precision = to_string(precision);
    const bool int8 = precision == runtime::Precision::int8;
    const auto opened = engine::OpenedModel::open(int8 ? with_ranges(model, images) : model, how);
    const std::vector<float> logits = opened->predict_all(pixels);
    tensors.emplace(precision == runtime::Precision::f32
                        ? "logits"
                        : fmt::format("logits.{}", to_string(precision)),
                    core::HostTensor::of({opened->num_exits(), count, opened->num_classes()},
                                         std::span<const float>(logits)));
  }
  core::write_safetensors(answers, {{"commit", core::kCommit}}, tensors);
}

}  // namespace offramp::workflow
