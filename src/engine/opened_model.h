#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/predictor.h"
#include "engine/certificate_check.h"
#include "graph/cost.h"
#include "model/model_file.h"
#include "runtime/precision.h"

namespace offramp::runtime {
struct CompiledNetwork;
}

namespace offramp::engine {

class Runner;
class Team;

/// How OpenedModel::open prepares a model to run.
struct OpenOptions {
  /// "auto", "f32", "bf16" or "int8". If the CPU lacks the instructions, the next wider precision
  /// is used, and a note says so.
  std::string precision = "auto";
  /// Number of threads that share the work; 0 means usable_cores().
  int threads = 0;
  /// Number of images that each stream runs through a segment together.
  int batch = 8;
  /// Number of independent streams that many images are divided among; each computes on threads /
  /// streams threads. 0 means one stream for each thread.
  int streams = 0;
};

/// Counts of what a runner has executed since it was made, summed over its threads.
struct RunCounts {
  /// Multiply-accumulates of every executed segment and head, as graph/cost counts them.
  std::int64_t macs = 0;
  /// [segments] Share of batch rows that held an image, over the runs before a flush; 1 if there
  /// were none.
  std::vector<double> fill;
  std::vector<std::int64_t> images;          ///< [segments] images that the segment executed
  std::vector<std::int64_t> flushed_images;  ///< [segments] those of `images` executed in a flush
};

/// A model that is ready to run on this CPU: its precision is chosen, its stored logits are checked
/// and its networks are compiled. Any number of threads may use it at the same time. It does not
/// change, except that the network for batches is compiled when it is first needed. The library,
/// the program and the server all execute models through this class.
class OpenedModel final : public core::Predictor, public std::enable_shared_from_this<OpenedModel> {
 public:
  /// Opens a model file. The weights stay in the file, which must not be modified in place.
  /// @throws Error "<path>: what is wrong"; UsageError for invalid options
  static std::shared_ptr<OpenedModel> open(const std::filesystem::path& path,
                                           const OpenOptions& options = {});
  /// Opens a model that is in memory. @throws Error "what is wrong", without a path
  static std::shared_ptr<OpenedModel> open(model::ModelFile model, const OpenOptions& options = {});
  ~OpenedModel() override;

  /// The content of the model file. Its `weights` are empty if the model was opened from a file.
  const model::ModelFile& file() const;
  const graph::Cost& cost() const;
  /// [K] Cost of an image that leaves at each exit, divided by that of the plain network.
  const std::vector<double>& relative_costs() const;

  runtime::Precision precision() const;
  /// The library, version and instruction set in use, for example "onednn 2.6.3 avx512_core_bf16".
  const std::string& kernels() const;
  int threads() const;
  int batch() const;
  int streams() const;
  /// The name that a certificate gives to the code that computes the logits here: the arithmetic,
  /// if the precision has one and the file stores images to compare; else kernels().
  const std::string& certified_code() const;
  /// One-line messages for the user, for example that this CPU lacks a precision or that the
  /// certificate is not in force here.
  const std::vector<std::string>& notes() const;
  /// Whether the certificate is in force for the model as it was opened here. For a certificate
  /// that names an arithmetic, CertificateCheck::status() runs the images that the file stores; so
  /// it is not to be called before the first answer.
  const CertificateCheck& certificate() const;
  /// Computes model::certified_hash() of the model's file.
  std::string certified_hash() const;

  int num_exits() const override;
  int num_classes() const override;
  std::int64_t image_size() const override;

  /// Runs one image on all threads together; divides several images among the streams, which take
  /// them from one queue. The logits of an image are bit-equal in both cases. Any number of threads
  /// may call this at the same time; their images share the model's threads.
  void run(std::span<const float> images, const core::ExitVisitor& visit) override;

  /// The network for one image at a time, on all threads.
  const std::shared_ptr<const runtime::CompiledNetwork>& single_image_network() const;
  /// The network for one stream of many images, in batches of batch() and of the smaller sizes that
  /// a flush needs.
  std::shared_ptr<const runtime::CompiledNetwork> batch_network() const;
  /// The threads that help the calling threads; a Runner gives them work.
  Team& team() const;

 private:
  class State;
  explicit OpenedModel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace offramp::engine
