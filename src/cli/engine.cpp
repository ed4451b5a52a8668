#include "cli/engine.h"

#include "core/error.h"

#ifdef OFFRAMP_WITH_TRAIN
#include "train/predictor.h"
#endif

namespace offramp::cli {

void add_engine_flags(CLI::App& command, EngineFlags& flags) {
  command.add_option("--threads", flags.threads, "Threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command.add_option("--batch", flags.batch, "Images at once")->check(CLI::Range(1, 65536));
  command.add_option("--precision", flags.precision, "f32 or bf16")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  command.add_option("--device", flags.device, "cpu or cuda")->capture_default_str();
}

std::unique_ptr<Predictor> open_engine([[maybe_unused]] const Model& model,
                                       [[maybe_unused]] const EngineFlags& flags) {
#ifdef OFFRAMP_WITH_TRAIN
  TorchPredictorOptions options;
  options.threads = flags.threads;
  options.precision = flags.precision == "bf16" ? PrecisionChoice::bf16 : PrecisionChoice::f32;
  options.device = flags.device;
  return make_torch_predictor(model, options);
#else
  throw Error(
      "this build has no engine to run a network: it was configured with OFFRAMP_TRAIN=OFF");
#endif
}

std::string engine_name(const EngineFlags& flags) { return "libtorch " + flags.device; }

}  // namespace offramp::cli
