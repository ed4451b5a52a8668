#include "cli/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <vector>

#include "cli/terminal.h"
#include "core/error.h"
#include "runtime/auto_precision.h"
#include "runtime/compile.h"
#include "runtime/kernels_name.h"
#include "runtime/precision.h"
#include "runtime/predictor.h"
#include "runtime/self_check.h"

#ifdef OFFRAMP_WITH_TRAIN
#include "train/predictor.h"
#endif

namespace offramp::cli {
namespace {

/// Rows of a segment's batch: more neither run faster nor fit into the caches.
constexpr int kLargestBatch = 32;

/// Whether flags and build mean LibTorch.
bool is_libtorch(const EngineFlags& flags) {
  const bool other_device = flags.device != "cpu";
  if (other_device && flags.engine == "runtime")
    throw UsageError("--engine runtime: runs on the CPU, not on {}", quote(flags.device));
  const bool libtorch = flags.engine == "libtorch" || other_device;
#ifndef OFFRAMP_WITH_TRAIN
  if (libtorch) throw Error("this build has no LibTorch: it was configured with OFFRAMP_TRAIN=OFF");
#endif
  return libtorch;
}

/// Each message once.
void tell_once(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string> told;
  const std::lock_guard lock(mutex);
  if (told.insert(text).second) tell(text);
}

/// Asks a deployment file's own precision for the logits that the file keeps: once in a run of the
/// program, for every engine that is opened or described would compile the network for it.
bool gives_stored_logits(const ModelFile& model, Precision precision) {
  if (!model.deployment || model.deployment->precision != to_string(precision) ||
      model.deployment->check.logits.empty())
    return true;
  struct Verdict {
    Graph graph;
    Deployment deployment;
    bool good;
  };
  static std::mutex mutex;
  static std::vector<Verdict> verdicts;
  const std::lock_guard lock(mutex);
  for (const Verdict& known : verdicts)
    if (known.graph == model.graph && known.deployment == *model.deployment) return known.good;
  WeightStore store;
  CompileOptions options;
  options.precision = precision;
  options.ranges = model.deployment->ranges;
  const bool good =
      offramp::gives_stored_logits(compile(model.graph, model.weights, options, store), model);
  verdicts.push_back({model.graph, *model.deployment, good});
  return good;
}

Precision runtime_precision(const ModelFile& model, const EngineFlags& flags) {
  const Precision wanted = precision_for(model, flags.precision);
  const Precision usable = usable_precision(wanted);
  if (usable != wanted)
    tell_once(fmt::format("this CPU has no instructions for {}: runs in {}\n", to_string(wanted),
                          to_string(usable)));
  if (usable == Precision::f32 || gives_stored_logits(model, usable)) return usable;
  tell_once(fmt::format("{} gives other logits here than where the file was made: runs in f32\n",
                        to_string(usable)));
  return Precision::f32;
}

std::unique_ptr<Predictor> open_runtime(const ModelFile& model, const EngineFlags& flags) {
  RuntimeOptions options;
  options.precision = runtime_precision(model, flags);
  options.threads = flags.threads;
  if (model.deployment) options.ranges = model.deployment->ranges;
  if (flags.batch > 0) options.batch = std::min(flags.batch, kLargestBatch);
  return std::make_unique<RuntimePredictor>(
      std::make_shared<RuntimeModel>(model.graph, model.weights, options));
}

#ifdef OFFRAMP_WITH_TRAIN
std::unique_ptr<Predictor> open_libtorch(const ModelFile& model, const EngineFlags& flags) {
  TorchPredictorOptions options;
  options.threads = flags.threads;
  options.precision = precision_for(model, flags.precision) == Precision::bf16
                          ? PrecisionChoice::bf16
                          : PrecisionChoice::f32;
  options.device = flags.device;
  return make_torch_predictor(model, options);
}
#endif

}  // namespace

void add_engine_flags(CLI::App& command, EngineFlags& flags) {
  command.add_option("--threads", flags.threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command.add_option("--batch", flags.batch, "Images at once")->check(CLI::Range(1, 65536));
  command
      .add_option("--engine", flags.engine, "runtime (default), or libtorch where it is built in")
      ->check(CLI::IsMember({"runtime", "libtorch"}));
  command.add_option("--precision", flags.precision,
                     "f32, bf16, or int8 for a file that quantize wrote; auto, the default: a "
                     "deployment file's own within its bounds, else f32; of any other what its "
                     "guarantee was certified in, else what its weights are stored in");
  command.add_option("--device", flags.device, "cpu, or cuda with libtorch")->capture_default_str();
}

Precision precision_for(const ModelFile& model, const std::string& word) {
  if (!word.empty() && word != "auto") return precision_from_string(word);
  const AutoPrecision chosen =
      auto_precision(model, [&](const std::string& name) { return model.weights.at(name).dtype; });
  if (chosen.is_out_of_bounds)
    tell_once(
        fmt::format("{} was measured outside its bounds on tune: runs in f32, unless "
                    "--precision {} asks for it\n",
                    model.deployment->precision, model.deployment->precision));
  return chosen.precision;
}

Engine engine_for(const ModelFile& model, const EngineFlags& flags) {
  if (!is_libtorch(flags)) {
    return {std::string(to_string(runtime_precision(model, flags))), kernels_name()};
  }
  const Precision precision = precision_for(model, flags.precision);
  if (precision == Precision::int8)
    throw UsageError("--precision: LibTorch computes in f32 or bf16, got \"int8\"");
  return {std::string(to_string(precision)), "libtorch " + flags.device};
}

std::unique_ptr<Predictor> open_engine(const ModelFile& model, const EngineFlags& flags) {
  engine_for(model, flags);
#ifdef OFFRAMP_WITH_TRAIN
  if (is_libtorch(flags)) return open_libtorch(model, flags);
#endif
  return open_runtime(model, flags);
}

}  // namespace offramp::cli
