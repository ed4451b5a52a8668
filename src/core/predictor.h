#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

namespace offramp {

/// What one exit computed for one image. Valid during the call that hands it over.
struct ExitOutput {
  int exit_index = 0;             ///< 0-based
  std::span<const float> logits;  ///< [classes]
  /// The exit's own estimate of whether its answer suffices, for networks that compute one beside
  /// the logits; NaN: this exit computes none.
  float own_score = std::numeric_limits<float>::quiet_NaN();
};

/// Receives what an exit computed for an image and returns true if the image leaves there. It is
/// called at every exit that an image reaches, the last one included, where the result is ignored:
/// the image leaves. Calls for different images may come from several threads at the same time;
/// those for one image come one after the other, in the order of the exits.
/// @param image  the image's place in the call that was given it, from 0, or the number that a
///               stream was given with it
using ExitVisitor = std::function<bool(std::int64_t image, const ExitOutput& output)>;

/// Where each image of a call left, and the logits there.
struct Stopped {
  std::vector<int> exit_index;  ///< [N] 0-based
  std::vector<float> logits;    ///< [N, classes]
};

/// Images in, logits out: one reader of a network (the runtime, LibTorch, the tests' reference).
class Predictor {
 public:
  virtual ~Predictor() = default;

  virtual int num_exits() const = 0;
  virtual int num_classes() const = 0;
  /// Elements of one input image: C * H * W.
  virtual std::int64_t image_size() const = 0;

  /// Runs each image as far as the visitor says, at most to the last exit. What comes after an exit
  /// is not computed for the images that leave there.
  /// @param images  [N, C, H, W] f32, normalised
  /// @throws Error if `images` is not a whole number of images, or what the visitor throws
  virtual void run(std::span<const float> images, const ExitVisitor& visit) = 0;

  /// The logits of every exit for every image. @param images  as run()
  /// @return [K, N, classes]
  std::vector<float> predict_all(std::span<const float> images);
  /// Runs each image as far as the visitor says. @param images  as run()
  Stopped predict_until(std::span<const float> images, const ExitVisitor& visit);
};

}  // namespace offramp
