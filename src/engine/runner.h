#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/predictor.h"
#include "engine/opened_model.h"

namespace offramp {
class Walk;
}

namespace offramp::engine {

/// Writes image `image` as the network takes it into `pixels` [C, H, W] and returns true, or
/// returns false if the image is not to be run. Called from several threads at once.
using ImageSource = std::function<bool(std::int64_t image, std::span<float> pixels)>;

/// Runs images through an opened model on the model's threads: the caller's thread and the others
/// each have a stream of their own, refilled from one queue. Holds the memory for the tensors under
/// way; after the first images of a kind nothing is allocated per image. For one thread at a time;
/// any number of runners share one model and its threads.
class Runner {
 public:
  explicit Runner(std::shared_ptr<OpenedModel> model);
  ~Runner();

  /// One image, an exit at a time, on all of the model's threads.
  Walk& one();

  /// Runs images 0 … count - 1 and returns when the visitor has let all of them leave.
  /// @throws what source or visitor throws on any thread; images under way are then forgotten
  void run(std::int64_t count, const ImageSource& source, const ExitVisitor& visit);

  /// Begins a stream: what push() gets is read from `source` and shown to `visit`, until the next
  /// begin(). REQUIRES: nothing waits.
  void begin(ImageSource source, ExitVisitor visit);
  /// Adds an image to the queue. Full batches run on the model's other threads, or, where these
  /// are busy or there are none, before this returns.
  /// @throws what source or visitor threw on any thread since the last call; the images that were
  ///         under way are then forgotten
  void push(std::int64_t image);
  /// Runs everything that waits and returns when all of it has left. @throws as push()
  void flush();
  /// Forgets everything that waits, once no thread works on it any more.
  void forget();

  /// REQUIRES: nothing waits.
  RunCounts counts() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp::engine
