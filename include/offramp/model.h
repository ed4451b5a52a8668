#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "offramp/error.h"
#include "offramp/export.h"

namespace offramp {

class Session;

/// How a model is to run.
struct Options {
  /// "f32", "bf16", "int8" (of a file that "offramp quantize" wrote), or "auto": a
  /// deployment file's own if measured within its bounds (docs/deployment.md), else f32; of another
  /// file what its guarantee was certified in, else what its weights are stored in. A CPU without
  /// the instructions runs the next wider one; see Model::notes.
  std::string precision = "auto";
  /// Threads that share the work of all sessions: a single image runs on all of them, the images of
  /// a batch or a stream run on streams of their own, one for each thread. 0: one for each core.
  int threads = 0;
  /// Images that run through the network together, on each thread, 1 to 1024.
  int batch = 8;
};

/// What was certified of a model: on images like those it was certified on, the rate of `of` is at
/// most `epsilon`, with probability at least 1 - `delta` over the draw of those images.
struct Promise {
  std::string of;  ///< "harm": the last exit names an image right and the policy wrong; or
                   ///< "disagreement" with the last exit
  double epsilon = 0, delta = 0;
};

/// A network ready to run on this CPU. Immutable, and a handle: copies share one. Any number of
/// threads may use it at the same time, each through a Session of its own. A handle that was moved
/// from may only be destroyed or assigned to.
class OFFRAMP_API Model {
 public:
  /// Loads a model file (see docs/model-file.md), checks all of it and compiles it for single
  /// images; batches are compiled by the first that comes. The file may be replaced afterwards, but
  /// not be written over in place.
  /// @throws Error "<path>: what is wrong"; UsageError for options that make no sense
  static Model load(const std::filesystem::path& path, const Options& options = {});

  /// Names of the classes, by class index.
  const std::vector<std::string>& classes() const;
  /// Size of the images that the network sees; others are resized to it.
  int width() const;
  int height() const;
  int channels() const;  ///< 3: red, green, blue; raw values only for any other number
  int num_exits() const;
  /// [exits] Multiply-accumulates of an image that leaves at each exit, all heads on its way
  /// included.
  const std::vector<std::int64_t>& macs() const;
  /// [exits] These divided by those of the plain network, without early exits.
  const std::vector<double>& relative_costs() const;

  /// Whether the file says when to stop: see Stop::by_policy.
  bool has_policy() const;
  /// What was certified of the policy; nothing if it was in another precision or with other kernels
  /// than run here.
  std::optional<Promise> promise() const;

  std::string precision() const;  ///< that it runs in: "f32", "bf16" or "int8"
  int threads() const;            ///< Options::threads, 0 replaced
  int batch() const;              ///< Options::batch
  /// One-line remarks for people: a precision that this CPU lacks, a guarantee that does not hold
  /// here. Often empty.
  const std::vector<std::string>& notes() const;

 private:
  friend class Session;
  class State;
  explicit Model(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

/// Version of the library: "0.1.0".
OFFRAMP_API const char* version();

}  // namespace offramp
