#include "cli/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <sstream>
#include <utility>

#include "cli/engine.h"
#include "cli/evaluate.h"
#include "cli/evidence.h"
#include "core/error.h"
#include "core/file.h"
#include "image/image.h"
#include "policy/policy.h"
#include "runtime/compile.h"
#include "runtime/precision.h"
#include "runtime/quantize.h"
#include "runtime/self_check.h"

namespace offramp::cli {
namespace {

namespace fs = std::filesystem;

/// `count` of the images listed, evenly spread over the data set.
std::vector<std::int64_t> spread(const std::vector<std::int64_t>& indices, int count) {
  const auto all = static_cast<std::int64_t>(indices.size());
  const std::int64_t wanted = std::min<std::int64_t>(count, all);
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < wanted; ++i)
    chosen.push_back(indices[static_cast<std::size_t>(i * all / wanted)]);
  return chosen;
}

std::vector<float> inputs_of(const Dataset& data, const std::vector<std::int64_t>& indices,
                             const ModelFile& model) {
  const Shape& shape = model.graph.input;
  const auto size = static_cast<std::size_t>(element_count(shape));
  std::vector<float> images(indices.size() * size);
  for (std::size_t i = 0; i < indices.size(); ++i)
    normalise(data.image(indices[i]), model.preprocessing,
              std::span(images).subspan(i * size, size));
  return images;
}

std::vector<ExitLoss> losses(const LogitsView& reference, const LogitsView& ours) {
  std::vector<ExitLoss> exits;
  const std::int64_t images = ours.images();
  for (int k = 0; k < ours.exits; ++k) {
    std::int64_t right = 0, reference_right = 0, same = 0, gained = 0, lost = 0;
    for (std::int64_t i = 0; i < images; ++i) {
      const std::int64_t label = ours.labels[static_cast<std::size_t>(i)];
      const int a = argmax(ours.at(k, i)), b = argmax(reference.at(k, i));
      same += a == b;
      right += a == label;
      reference_right += b == label;
      gained += a == label && b != label;
      lost += a != label && b == label;
    }
    const auto n = static_cast<double>(images);
    exits.push_back({static_cast<double>(reference_right) / n, static_cast<double>(right) / n,
                     paired_difference(gained, lost, images), static_cast<double>(same) / n});
  }
  return exits;
}

EngineFlags engine_flags(const QuantizeFlags& flags, const std::string& precision) {
  EngineFlags engine;
  engine.threads = flags.threads;
  engine.precision = precision;
  return engine;
}

/// The flags by which the policy is chosen again; nullopt where it cannot be, and result says why.
std::optional<CalibrateFlags> flags_to_choose_again(const QuantizeFlags& flags,
                                                    const ModelFile& model, Quantized& result) {
  if (!model.policy) {
    result.no_policy = "the model has no policy; \"offramp calibrate\" chooses one";
    return std::nullopt;
  }
  auto wanted = flags_of_aim(*model.policy);
  if (!wanted) {
    result.no_policy = fmt::format(
        "the policy's aim ({}) cannot be met again from what the model holds: choose one with "
        "\"offramp calibrate\"",
        model.policy->aim);
    return std::nullopt;
  }
  wanted->model = flags.model;
  wanted->out = flags.written_to();
  wanted->data = flags.data;
  wanted->engine = engine_flags(flags, flags.precision);
  return wanted;
}

/// Chooses the policy of the model anew for what was made of it, and writes the file: at the end
/// and in one step, so that the one that was there is whole until then.
void write_with_policy(const QuantizeFlags& flags, const ModelFile& model, ModelFile deployed,
                       Quantized& result) {
  deployed.certificates =
      std::max(model.certificates, certificates_drawn(flags.written_to(), model));
  const auto wanted = flags_to_choose_again(flags, model, result);
  if (!wanted) {
    save_model(flags.written_to(), deployed);
    return;
  }
  result.policy = calibrate(*wanted, std::move(deployed));
  result.policy_flags = *wanted;
}
ModelFile deployed_from(const QuantizeFlags& flags, const ModelFile& model, const Dataset& data,
                        Quantized& result) {
  if (flags.precision == "bf16") return rounded_to_bf16(model);
  const auto observed = spread(images_listed(data, model.provenance.data.train), flags.images);
  if (observed.empty())
    throw Error(
        "{}: holds no image that the model was trained on: ranges of activations are "
        "observed on those",
        flags.data);
  result.observed = static_cast<std::int64_t>(observed.size());
  return quantised_to_int8(model, inputs_of(data, observed, model), std::max(flags.threads, 1));
}

StoredLogits stored_logits(const ModelFile& deployed, Precision precision) {
  constexpr std::uint64_t kSeed = 1;
  WeightStore store;
  CompileOptions options;
  options.precision = precision;
  options.ranges = deployed.deployment->ranges;
  const auto network = compile(deployed.graph, deployed.weights, options, store);
  return {kSeed, logits_to_store(network, deployed.graph, kSeed)};
}

}  // namespace

std::string QuantizeFlags::written_to() const {
  if (!out.empty()) return out;
  fs::path path = model;
  path.replace_extension("." + precision + ".safetensors");
  return path.string();
}

std::optional<CalibrateFlags> flags_of_aim(const ChosenPolicy& chosen) {
  CalibrateFlags flags;
  flags.criterion = to_string(chosen.policy.criterion);
  flags.ensemble = to_string(chosen.policy.ensemble);
  std::istringstream words(chosen.aim);
  std::string word;
  while (words >> word) {
    if (word == "--label-free") {
      flags.label_free = true;
      continue;
    }
    double value = 0;
    if (!(words >> value)) return std::nullopt;
    if (word == "--threshold")
      flags.threshold = value;
    else if (word == "--max-accuracy-drop")
      flags.max_accuracy_drop = value;
    else if (word == "--max-cost")
      flags.max_cost = value;
    else if (word == "--guarantee")
      flags.guarantee = value;
    else if (word == "--delta")
      flags.delta = value;
    else
      return std::nullopt;
  }
  try {
    check(flags);
  } catch (const Error&) {
    return std::nullopt;
  }
  return flags;
}

Quantized quantize(const QuantizeFlags& flags) {
  const Precision precision = precision_from_string(flags.precision);
  if (precision == Precision::f32)
    throw UsageError("--precision: a deployment file holds bf16 or int8, got \"f32\"");
  if (!has_instructions_for(precision))
    throw Error("this CPU has no instructions for {}: what it would lose could not be measured",
                flags.precision);
  const std::string out = flags.written_to();
  std::error_code ignored;
  for (const std::string& input : {flags.model, flags.data})
    if (fs::equivalent(out, input, ignored))
      throw UsageError("--out: {} is what is read, it must not be written over", out);
  check_writable(out);

  const ModelFile model = load_model(flags.model);
  const LoadedData train = load_data(flags.data, Part::train, load_options(model));
  Quantized result;
  ModelFile deployed;
  try {
    check_same_classes(model, train.dataset);
    deployed = deployed_from(flags, model, train.dataset, result);
  } catch (const Error& error) {
    throw_with_place(flags.model, error);
  }
  const EvaluationSet tune{&train.dataset, images_listed(train.dataset, model.provenance.data.tune),
                           &model.preprocessing, kEvaluationBatch};
  if (tune.indices.empty()) throw Error("{}: holds no image of the model's tune part", flags.data);
  refuse_trained_images(model, train.dataset, tune.indices, "");
  const auto reference_engine = open_engine(model, engine_flags(flags, "f32"));
  const SavedLogits reference = run_all_exits(*reference_engine, tune);
  const auto engine = open_engine(deployed, engine_flags(flags, flags.precision));
  const SavedLogits ours = run_all_exits(*engine, tune);
  result.tune_images = static_cast<std::int64_t>(tune.indices.size());
  result.exits = losses(reference.view(), ours.view());

  const ExitLoss& last = result.exits.back();
  deployed.deployment->measured = {result.tune_images,  last.agreement,
                                   last.accuracy,       last.reference_accuracy,
                                   last.difference.low, last.difference.high};
  result.within_bounds = is_within_bounds(*deployed.deployment);
  deployed.deployment->check = stored_logits(deployed, precision);
  write_with_policy(flags, model, std::move(deployed), result);
  result.bytes_before = static_cast<std::int64_t>(fs::file_size(flags.model));
  result.bytes = static_cast<std::int64_t>(fs::file_size(out));
  return result;
}

}  // namespace offramp::cli
