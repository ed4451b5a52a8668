#pragma once

#include <array>
#include <string_view>

namespace offramp {

/// How an image of any size becomes the network's size.
enum class Fit {
  squeeze,  ///< both sides resized independently
  crop,     ///< shorter side resized, centre cropped: the aspect is kept
};

/// What happens between a decoded image and the network's input. Stored in the model file,
/// so that training and deployment cannot differ.
struct Preprocessing {
  int height = 32;
  int width = 32;
  Fit fit = Fit::squeeze;
  /// Per channel (red, green, blue), of values in [0, 1].
  std::array<float, 3> mean = {0.4914f, 0.4822f, 0.4465f};
  std::array<float, 3> std = {0.2023f, 0.1994f, 0.2010f};

  bool operator==(const Preprocessing&) const = default;
};

std::string_view to_string(Fit fit);
/// @throws UsageError for another word, naming the known ones
Fit fit_from_string(std::string_view word);

}  // namespace offramp
