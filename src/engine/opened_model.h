#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/predictor.h"
#include "graph/cost.h"
#include "model/model_file.h"
#include "runtime/precision.h"

namespace offramp {
struct CompiledNetwork;
}

namespace offramp::engine {

class Runner;
class Team;

/// How a model is to run.
struct OpenOptions {
  /// "auto", "f32", "bf16" or "int8". Where the CPU lacks the instructions the next wider precision
  /// is taken, and a note says so.
  std::string precision = "auto";
  /// Threads that share the work; 0: usable_cores().
  int threads = 0;
  /// Images that run through a segment together, on each of the threads.
  int batch = 8;
  /// Independent streams of images that share the threads when there are many images; each computes
  /// on threads / streams of them. 0: one stream for each thread.
  int streams = 0;
};

/// What the certificate of a model's policy is worth for a model as it was opened here.
struct CertificateHere {
  bool holds = false;
  std::string why_not;  ///< one line; empty where it holds, or where the model has no certificate
};

/// What ran, over all threads of a runner since it was made.
struct RunCounts {
  std::int64_t macs = 0;  ///< as graph/cost counts, of every segment and head executed
  /// [segments] share of batch rows that held an image, over the runs before a flush; 1 if there
  /// were none.
  std::vector<double> fill;
  std::vector<std::int64_t> images;          ///< [segments] that went through
  std::vector<std::int64_t> flushed_images;  ///< [segments] of these, at the end of a run
};

/// A model made ready to run on this CPU: its precision is chosen, its stored logits are checked,
/// its networks are compiled. It is immutable (networks for batches are compiled when first asked
/// for), and any number of threads may use it at once. Everything that executes a model in the
/// library, the program and the server stands on this class.
class OpenedModel final : public Predictor, public std::enable_shared_from_this<OpenedModel> {
 public:
  /// Opens a model file; its weights stay in the file, which must not be written over in place.
  /// @throws Error "<path>: what is wrong"; UsageError for options that make no sense
  static std::shared_ptr<OpenedModel> open(const std::filesystem::path& path,
                                           const OpenOptions& options = {});
  /// Opens a model that is in memory. @throws Error without a place
  static std::shared_ptr<OpenedModel> open(ModelFile model, const OpenOptions& options = {});
  ~OpenedModel() override;

  /// Graph, classes, policy, provenance. `weights` is empty if the model was opened from a file.
  const ModelFile& file() const;
  const Cost& cost() const;
  /// [K] cost of an image that leaves at each exit, over the plain network's.
  const std::vector<double>& relative_costs() const;

  Precision precision() const;
  /// Library, version and instruction set that compute: "onednn 2.6.3 avx512_core_bf16".
  const std::string& kernels() const;
  int threads() const;
  int batch() const;
  int streams() const;
  /// Remarks for people, one line each: a precision that this CPU lacks, a certificate that does
  /// not hold here.
  const std::vector<std::string>& notes() const;
  const CertificateHere& certificate() const;

  int num_exits() const override;
  int num_classes() const override;
  std::int64_t image_size() const override;

  /// One image runs on all threads together, several on streams of their own that are refilled from
  /// one queue. Answers are equal to the bit however images come. Any number of threads may call
  /// this at once; their images share the model's threads.
  void run(std::span<const float> images, const ExitVisitor& visit) override;

  /// For one image at a time, on all threads.
  const std::shared_ptr<const CompiledNetwork>& for_one() const;
  /// For one stream of many images, in batches of batch() and the smaller sizes that a flush needs.
  std::shared_ptr<const CompiledNetwork> for_many() const;
  /// All threads but a caller's; a Runner hands them work.
  Team& team() const;

 private:
  class State;
  explicit OpenedModel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace offramp::engine
