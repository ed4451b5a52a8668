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

/// A network's input, and the reservation of its memory.
struct Input {
  std::vector<float> values;  ///< [C, H, W], normalised
  Reservation memory;
};

/// An image to decode. The caller sets the fields up to `done`.
struct DecodeTask {
  enum class Outcome {
    decoded,
    refused,  ///< the image cannot be used; `error` contains the reason
    no_room,  ///< there is no memory for the image, or too many large ones wait; try again later
    failed    ///< decoding failed for a reason that is not the image's fault
  };
  ImageView image;
  std::shared_ptr<const void> owner;  ///< owner of the bytes that `image` refers to
  Cancellation cancellation;       ///< a cancelled image is not decoded; its outcome is `refused`
  std::shared_ptr<Budget> budget;  ///< budget for the memory; null: memory is not counted
  /// Called once, from one of the decoder's threads. It must not throw.
  std::function<void(DecodeTask& task)> done;

  Outcome outcome = Outcome::failed;
  std::string error;
  std::shared_ptr<Input> input;  ///< the result, if the image was decoded
  std::int64_t pixels = 0;       ///< number of pixels of a large image; 0: not known to be large
};

/// Threads that convert image files, and pixels of other sizes, to the input of a model; they are
/// not the threads that run it. An image of up to kSmallPixels is decoded at once. A larger one
/// first reserves kBytesPerPixel for each pixel from its budget. At most half of the threads decode
/// large images, so that small images do not wait for them.
class Decoder {
 public:
  static constexpr std::int64_t kSmallPixels = 1 << 16;
  /// A BMP is held as a file, as the library's pixels and as ours; a progressive JPEG holds its
  /// coefficients; turning an image by its EXIF orientation makes another copy.
  static constexpr std::size_t kBytesPerPixel = 12;
  /// The largest number of large images that wait; further ones are refused.
  static constexpr std::size_t kMaxLarge = 64;

  Decoder(const Model& model, std::int64_t max_pixels);
  /// Decodes the waiting images, then ends the threads.
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// Accepts all tasks; needs no memory allocation.
  void submit(std::list<DecodeTask> tasks) noexcept;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace offramp::serve
