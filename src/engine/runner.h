#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/predictor.h"
#include "engine/opened_model.h"

namespace offramp::runtime {
class SingleImageRun;
}

namespace offramp::engine {

/// Writes the network's input for image `image` to `pixels` [C, H, W] and returns true, or returns
/// false if the image is not to be run. Several threads may call it at the same time.
using ImageSource = std::function<bool(std::int64_t image, std::span<float> pixels)>;

/// Runs images through an opened model on the model's threads. The calling thread and the others
/// each have a RefillBatcher of their own and take images from one queue. A runner holds the memory
/// for the tensors; after the first images of each kind it allocates nothing per image. One thread
/// at a time may use it. Any number of runners share one model and its threads.
class Runner {
 public:
  explicit Runner(std::shared_ptr<OpenedModel> model);
  ~Runner();

  /// Runs one image exit by exit on all of the model's threads.
  runtime::SingleImageRun& one();

  /// Runs images 0 … count - 1 and returns when all of them have left.
  /// @throws any exception of `source` or `visit`, from any thread; the remaining images are then
  ///         dropped
  void run(std::int64_t count, const ImageSource& source, const core::ExitVisitor& visit);

  /// Begins a stream. Until the next begin(), the images of push() are read with `source` and their
  /// outputs are passed to `visit`. REQUIRES: no image is waiting.
  void begin(ImageSource source, core::ExitVisitor visit);
  /// Adds an image to the queue. Full batches run on the model's other threads; if these are busy
  /// or there are none, they run on the calling thread before this returns.
  /// @throws any exception of `source` or `visit` on any thread since the last call; the remaining
  ///         images are then dropped
  void push(std::int64_t image);
  /// Runs all waiting images and returns when all of them have left. @throws as push()
  void flush();
  /// Drops all waiting images, after the threads have finished what they are working on.
  void drop_images();

  /// REQUIRES: no image is waiting.
  RunCounts counts() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp::engine
