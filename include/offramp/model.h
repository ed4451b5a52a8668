#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "offramp/error.h"
#include "offramp/export.h"
#include "offramp/guarantee.h"
#include "offramp/image.h"

namespace offramp {

class Session;

/// How Model::load prepares a model to run.
struct Options {
  /// The precision to compute in: "f32", "bf16", "int8" (only for a file that "offramp quantize"
  /// wrote) or "auto". "auto" runs a deployment file in its own precision if that was measured
  /// within its bounds (docs/deployment.md), else in f32; it runs any other file in the precision
  /// that its guarantee was certified in or, without a guarantee, in that of its stored weights. A
  /// CPU that lacks the instructions runs the next wider precision, and Model::notes says so.
  std::string precision = "auto";
  /// Number of threads, shared by all sessions of the model. A single image runs on all of them;
  /// the images of a batch or a stream are divided among them. 0 means one thread for each core
  /// that the process may use. If the process is not allowed to start that many, Model::load throws
  /// an Error.
  int threads = 0;
  /// Number of images that each thread runs through the network together, 1 to 1024.
  int batch = 8;
};

/// One policy of the path that was tested for a model's certificate (docs/guarantee.md). From each
/// step to the next, images stop earlier.
struct PolicyStep {
  std::vector<std::optional<float>> thresholds;  ///< [exits - 1]; nullopt: that exit is not taken
  double accuracy = 0;                           ///< accuracy on the tune images, a fraction of 1
  double relative_cost = 0;                      ///< mean relative cost of the tune images
  /// Whether Stop::at_step accepts this step. Steps are certified for the code that computed the
  /// certify logits; for code that `offramp verify` compared with it, the chosen step only.
  bool certified = false;
  /// As Guarantee::disagreement, of this step; nullopt if the file holds none or the step is not
  /// certified for the code that runs here. The bounds of all steps hold together.
  std::optional<double> disagreement = {};
};

/// A network that is ready to run on this CPU. A Model is an immutable handle: its copies share one
/// network. Any number of threads may use it at the same time, each through a Session of its own.
/// A Model that was moved from may only be destroyed or assigned to.
class OFFRAMP_API Model {
 public:
  /// Loads a model file (see docs/model-file.md), checks all of it and compiles it for single
  /// images. The first batch or stream compiles it for batches too. While the model is in use the
  /// file may be replaced by another one, but must not be modified in place.
  /// @throws Error "<path>: what is wrong"; UsageError for invalid options
  static Model load(const std::filesystem::path& path, const Options& options = {});

  /// [classes] Names of the classes, in the order of the class indices.
  const std::vector<std::string>& classes() const;
  /// Width of the network's input in pixels. Images of another size are resized to it.
  int width() const;
  /// Height of the network's input in pixels.
  int height() const;
  /// Channels of the network's input. Unless it is 3 (red, green, blue), the network takes
  /// ImageView::normalised only.
  int channels() const;
  int num_exits() const;
  /// [exits] Multiply-accumulates spent on an image that leaves at each exit, including the heads
  /// of all exits up to that one.
  const std::vector<std::int64_t>& macs() const;
  /// [exits] macs() divided by the multiply-accumulates of the plain network, which has no early
  /// exits.
  const std::vector<double>& relative_costs() const;

  /// Decodes, resizes and normalises an image as a session does before it runs the image: a session
  /// gives ImageView::normalised(input) the same answer, to the bit. It is for programs that decode
  /// on threads of their own.
  /// @param input       [channels, height, width], written
  /// @param max_pixels  as SessionOptions::max_pixels
  /// @throws Error saying what is wrong with the image
  void prepare(const ImageView& image, std::span<float> input,
               std::int64_t max_pixels = std::int64_t{1} << 27) const;

  /// Whether the file holds a policy, so that Stop::by_policy can be used.
  bool has_policy() const;
  /// The criterion of the policy: "confidence", "entropy", "margin" or "patience"; empty if the
  /// file holds no policy.
  std::string criterion() const;
  /// The ensemble of the policy: "off", "mean", "geometric" or "weighted"; empty if the file holds
  /// no policy.
  std::string ensemble() const;
  /// The path that was tested for the certificate, the most cautious policy first; empty if the
  /// file holds none. All steps up to chosen_step() are certified.
  std::vector<PolicyStep> policy_path() const;
  /// The index in policy_path() of the model's policy; nullopt without a path.
  std::optional<int> chosen_step() const;
  /// The certified bound of the policy, whether it is in force for the precision and the kernels
  /// that this model runs with, and if not, why. nullopt if the policy has none. The first call
  /// checks the weights against the certified ones; for an int8 file, it also runs the images that
  /// the file stores (64 as a rule) on one stream, which must get the certified logits, bit for
  /// bit. Call it when the program is idle, and not before the first answer.
  std::optional<Guarantee> guarantee() const;
  /// The same without that work: `in_force` is `unknown` until guarantee() was called.
  std::optional<Guarantee> guarantee_so_far() const;

  std::string precision() const;  ///< the precision in use: "f32", "bf16" or "int8"
  int threads() const;            ///< the number of threads; never 0
  int batch() const;              ///< Options::batch
  /// One-line messages for the user, for example that this CPU lacks a precision or that the
  /// guarantee does not hold here. Often empty.
  const std::vector<std::string>& notes() const;

 private:
  friend class Session;
  class State;
  explicit Model(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

/// The version of the library, for example "0.1.0".
OFFRAMP_API const char* version();

}  // namespace offramp
