#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <numeric>

#include "cli/bench.h"
#include "cli/bench_output.h"
#include "cli/command.h"
#include "cli/evidence.h"
#include "cli/network_file.h"
#include "cli/terminal.h"
#include "core/error.h"
#include "core/safetensors.h"
#include "core/version.h"
#include "graph/random_weights.h"
#include "image/image.h"
#include "runtime/predictor.h"

namespace offramp::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kRandomImages = 512;
constexpr std::int64_t kMaxPixels = std::int64_t{1} << 28;  // of all images, 1 GiB

BenchImages random_ones(const ModelFile& model, const BenchFlags& flags) {
  const std::int64_t count = flags.images > 0 ? flags.images : kRandomImages;
  if (count > kMaxPixels / element_count(model.graph.input))
    throw UsageError("--images: {} are more than fit into memory", count);
  return {random_images(model.graph, static_cast<int>(count), 1), {}, "random images"};
}

/// The test images, each with its label; the first `--images` of an order that mixes the classes.
BenchImages test_images(const ModelFile& model, const BenchFlags& flags) {
  const LoadedData loaded = load_data(flags.data, Part::test, load_options(model));
  const Dataset& data = loaded.dataset;
  std::vector<std::int64_t> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  try {
    check_same_classes(model, data);
    if (flags.skip_trained) indices = without_trained_images(model, data, indices);
    refuse_trained_images(model, data, indices);
  } catch (const Error& error) {
    throw_with_place(flags.model, error);
  }
  const auto size = static_cast<std::size_t>(element_count(model.graph.input));
  const auto most = static_cast<std::size_t>(kMaxPixels) / size;
  const std::size_t count = std::min(
      {indices.size(), most, flags.images > 0 ? static_cast<std::size_t>(flags.images) : most});
  if (count < indices.size()) {
    // Every so many, so that all classes are there: they lie one after the other in a folder.
    std::vector<std::int64_t> chosen;
    for (std::size_t i = 0; i < count; ++i) chosen.push_back(indices[i * indices.size() / count]);
    indices = std::move(chosen);
  }
  if (indices.empty()) throw Error("{}: holds no image that is not trained on", flags.data);
  try {
    log_test_read(flags.model, {fmt::format("offramp bench {} --data {}", flags.model, flags.data),
                                loaded.source, static_cast<std::int64_t>(indices.size())});
  } catch (const Error& error) {
    tell(fmt::format("this reading of the test images is not on record: {}\n", error.what()));
  }
  BenchImages images;
  images.source =
      fmt::format("{} test images of {}", with_commas(static_cast<std::int64_t>(indices.size())),
                  loaded.source);
  images.pixels.resize(indices.size() * size);
  for (std::size_t i = 0; i < indices.size(); ++i) {
    normalise(data.image(indices[i]), model.preprocessing,
              std::span(images.pixels).subspan(i * size, size));
    images.labels.push_back(data.labels[static_cast<std::size_t>(indices[i])]);
  }
  return images;
}

/// The network, the first images and what it says of them in each precision: what another engine is
/// held against.
void keep(const BenchFlags& flags, const ModelFile& model, const BenchImages& images) {
  constexpr std::int64_t kKept = 64;
  std::error_code failed;
  fs::create_directories(flags.keep, failed);
  if (failed) throw Error("{}: {}", flags.keep, failed.message());
  save_model(fs::path(flags.keep) / "model.safetensors", model);
  const std::int64_t count = std::min(images.count(model), kKept);
  const std::span<const float> pixels =
      std::span(images.pixels)
          .first(static_cast<std::size_t>(count * element_count(model.graph.input)));
  Shape shape = {count};
  shape.insert(shape.end(), model.graph.input.begin(), model.graph.input.end());
  Tensors tensors;
  tensors.emplace("images", HostTensor::of(shape, pixels));
  std::vector<Precision> precisions = precisions_of(flags, model);
  if (std::ranges::count(precisions, Precision::f32) == 0) precisions.push_back(Precision::f32);
  for (const Precision precision : precisions) {
    RuntimeOptions options;
    options.precision = precision;
    if (precision == Precision::int8)
      options.ranges = with_ranges(model, images).deployment->ranges;
    RuntimePredictor predictor(std::make_shared<RuntimeModel>(model.graph, model.weights, options));
    const std::vector<float> logits = predictor.predict_all(pixels);
    tensors.emplace(
        precision == Precision::f32 ? "logits" : fmt::format("logits.{}", to_string(precision)),
        HostTensor::of({predictor.num_exits(), count, predictor.num_classes()},
                       std::span<const float>(logits)));
  }
  write_safetensors(fs::path(flags.keep) / "answers.safetensors", {{"commit", kCommit}}, tensors);
}

int run(const BenchFlags& flags) {
  if (flags.ceiling) {
    const MachineWatch watch;
    const std::vector<Ceiling> ceilings = measure_ceilings(flags.threads);
    write_out(flags.json ? to_json_text(ceilings) : to_text(ceilings, may_color(stdout)));
    tell(busy_line(watch.load()));
    return 0;
  }
  if (flags.model.empty()) throw UsageError("needs a model, or --ceiling");
  check(flags.policy);
  const ModelFile model = model_or_recipe(flags.model, flags.classes);
  if (is_recipe(flags.model) && !flags.data.empty())
    throw UsageError("--data: a recipe's network is random, there is no accuracy to measure");
  const BenchImages images =
      flags.data.empty() ? random_ones(model, flags) : test_images(model, flags);
  if (!flags.keep.empty()) keep(flags, model, images);
  const BenchResult result = bench(model, images, flags);
  write_out(flags.json ? to_json_text(result) : to_text(flags, result, may_color(stdout)));
  tell(busy_line(result.load));
  return 0;
}

}  // namespace

void add_bench_command(CLI::App& app, Action& action) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = app.add_subcommand(
      "bench", "Time a model on this machine, or what the machine can do at all");
  command->add_option("model", flags->model, "Model file, or recipe (.toml) with random weights");
  command->add_option("--data", flags->data,
                      "Test images to time and score it on (default: random images)");
  command->add_option("--images", flags->images, "How many images (default: all, or 512 random)")
      ->check(CLI::Range(1, 1 << 30));
  command
      ->add_option(
          "--precision", flags->precisions,
          "f32, bf16, int8 (default: all the CPU has; int8 for a file that quantize wrote)")
      ->delimiter(',');
  command
      ->add_option("--mode", flags->modes,
                   "plain: without its early exits; adaptive: by its policy; exhaustive: all exits")
      ->delimiter(',')
      ->check(CLI::IsMember({"plain", "adaptive", "exhaustive"}));
  command->add_option("--batch", flags->batches, "Images at once, per stream")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--threads", flags->threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command->add_option("--seconds", flags->seconds, "Time each row at least so long")
      ->check(CLI::Range(0.01, 86400.0))
      ->capture_default_str();
  command->add_option("--classes", flags->classes, "Of a recipe's network")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  add_policy_flags(*command, flags->policy);
  command->add_flag("--skip-trained", flags->skip_trained,
                    "Leave out images that the model was trained on instead of refusing");
  command->add_option(
      "--keep", flags->keep,
      "Write the network, 64 of the images and its logits in each precision to a folder");
  command->add_flag("--ceiling", flags->ceiling,
                    "Multiply-adds a second that this machine's cores can do");
  command->add_flag("--json", flags->json, "Print JSON");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace offramp::cli
