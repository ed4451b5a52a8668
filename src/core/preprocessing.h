#pragma once

#include <array>
#include <string_view>

namespace offramp::core {

/// How an image is resized to the size of the network's input.
enum class Fit {
  squeeze,  ///< width and height are resized independently
  crop,     ///< the image is resized by its shorter side and the centre is cut out, so that the
            ///< aspect ratio is kept
};

/// The steps from a decoded image to the network's input. The model file stores them, so that
/// training and deployment cannot differ.
struct Preprocessing {
  int height = 32;
  int width = 32;
  Fit fit = Fit::squeeze;
  /// Mean and standard deviation per channel (red, green, blue) of pixel values in [0, 1].
  std::array<float, 3> mean = {0.4914f, 0.4822f, 0.4465f};
  std::array<float, 3> std = {0.2023f, 0.1994f, 0.2010f};

  bool operator==(const Preprocessing&) const = default;
};

std::string_view to_string(Fit fit);
/// @throws UsageError for an unknown word; the message lists the known ones
Fit fit_from_string(std::string_view word);

}  // namespace offramp::core
