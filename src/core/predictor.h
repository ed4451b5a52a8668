#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace offramp::core {

/// The output of one exit for one image. It is valid during the call that passes it.
struct ExitOutput {
  int exit_index = 0;             ///< 0-based
  std::span<const float> logits;  ///< [classes]
  /// The network's own estimate of whether this exit's answer suffices, for networks that compute
  /// one besides the logits. NaN if this exit computes none.
  float own_score = std::numeric_limits<float>::quiet_NaN();
};

/// Receives the output of an exit for an image and returns true if the image leaves there. It is
/// called at every exit that an image reaches. At the last exit the result is ignored, because the
/// image leaves there in any case. Calls for different images may come from several threads at the
/// same time; the calls for one image come one after the other, in the order of the exits.
/// @param image  the index of the image in the call that takes the images, from 0; or the number
///               that it was pushed to a stream with
using ExitVisitor = std::function<bool(std::int64_t image, const ExitOutput& output)>;

/// The exit where each image of a call left, and the logits at that exit.
struct StoppedImages {
  std::vector<int> exit_index;  ///< [N] 0-based
  std::vector<float> logits;    ///< [N, classes]
};

/// Computes the logits of images. It is implemented by the runtime, by LibTorch modules and by the
/// reference interpreter of the tests.
class Predictor {
 public:
  virtual ~Predictor() = default;

  virtual int num_exits() const = 0;
  virtual int num_classes() const = 0;
  /// Elements of one input image: C * H * W.
  virtual std::int64_t image_size() const = 0;

  /// Runs each image up to the exit where the visitor returns true, or to the last exit. The layers
  /// after that exit are not computed for this image.
  /// @param images  [N, C, H, W] f32, normalised
  /// @throws Error if the size of `images` is not a multiple of image_size(); any exception of the
  ///         visitor
  virtual void run(std::span<const float> images, const ExitVisitor& visit) = 0;

  /// Computes the logits of every exit for every image. @param images  as for run()
  /// @return [K, N, classes]
  std::vector<float> predict_all(std::span<const float> images);
  /// Runs images like run() and returns where each one left. @param images  as for run()
  StoppedImages predict_until(std::span<const float> images, const ExitVisitor& visit);
};

}  // namespace offramp::core
