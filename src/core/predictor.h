#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace offramp {

/// Where each image of a batch stopped, and what was said there.
struct Stopped {
  std::vector<int> exit_index;  ///< [N] 0-based
  std::vector<float> logits;    ///< [N, classes] of the exit the image stopped at
};

/// Decides after an exit whether an image is done. Gets the image's place in the batch, the exit's
/// index (0-based) and its logits [classes]; is not asked at the last exit.
using StopRule =
    std::function<bool(std::int64_t image, int exit_index, std::span<const float> logits)>;

/// Images in, logits out. One reader of a network: LibTorch, the runtime, the tests' reference.
/// Not thread-safe: one Predictor a thread.
class Predictor {
 public:
  virtual ~Predictor() = default;

  virtual int num_exits() const = 0;
  virtual int num_classes() const = 0;
  /// Elements of one input image: C * H * W.
  virtual std::int64_t image_size() const = 0;

  /// Runs every exit, for analysis.
  /// @param images  [N, C, H, W] f32, normalised
  /// @return        [K, N, classes] f32
  virtual std::vector<float> predict_all(std::span<const float> images) = 0;

  /// Runs each image to the first exit where `stop` says so, else to the last. What comes after an
  /// exit is not computed for the images that left there.
  /// @param images  [N, C, H, W] f32, normalised
  virtual Stopped predict_until(std::span<const float> images, const StopRule& stop) = 0;
};

}  // namespace offramp
