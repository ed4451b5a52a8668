#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "offramp/model.h"
#include "offramp/session.h"
#include "serve/budget.h"

namespace offramp::serve {

/// A network's input, and the memory that is counted for it.
struct Input {
  std::vector<float> values;  ///< [C, H, W], normalised
  Reservation memory;
};

/// An image to decode. The fields up to `done` are set by whoever passes it to a Decoder.
struct DecodeTask {
  enum class Outcome {
    decoded,
    refused,  ///< the image cannot be used: `error` says why
    no_room,  ///< there is no memory for it, or too many large ones wait: try again later
    failed    ///< no fault of the image
  };
  ImageView image;
  std::shared_ptr<const void> owner;  ///< of the bytes that `image` refers to
  Cancellation cancellation;          ///< a cancelled image is not decoded: `refused`
  std::shared_ptr<Budget> budget;     ///< null: no memory is counted
  /// Called once, from one of the decoder's threads. It must not throw.
  std::function<void(DecodeTask& task)> done;

  Outcome outcome = Outcome::failed;
  std::string error;
  std::shared_ptr<Input> input;  ///< if decoded
  std::int64_t pixels = 0;       ///< of a large image; 0: not known to be large
};

/// Threads that turn image files and pixels of other sizes into the input of a model, beside those
/// that run it. An image of up to kSmallPixels is decoded at once. A larger one first takes
/// kBytesPerPixel of its budget, and at most half of the threads decode such images, so that they
/// delay only each other.
class Decoder {
 public:
  static constexpr std::int64_t kSmallPixels = 1 << 16;
  /// A BMP is held as a file, as the library's pixels and as ours; a progressive JPEG holds its
  /// coefficients; turning an image by its EXIF orientation makes another copy.
  static constexpr std::size_t kBytesPerPixel = 12;
  /// Large images that wait; more are refused.
  static constexpr std::size_t kMaxLarge = 64;

  Decoder(const Model& model, std::int64_t max_pixels);
  /// Decodes what waits, then ends the threads.
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Takes all of the tasks; needs no memory for it.
  void submit(std::list<DecodeTask> tasks) noexcept;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp::serve
