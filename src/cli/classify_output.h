#pragma once

#include <optional>
#include <string>
#include <vector>

#include "offramp/session.h"

namespace offramp::cli {

/// An image and its answer; the answer holds an error if the image could not be classified.
struct ClassifiedImage {
  std::string image;  ///< path of the image
  Answer answer;
};

/// One line with a JSON object for each image.
/// @param guarantee  the model's certificate, if it has one, and whether it is in force after these
///                   images
std::string to_json_lines(const std::vector<ClassifiedImage>& answers,
                          const std::optional<Guarantee>& guarantee);
/// One line in columns for each image that was classified.
std::string to_text(const std::vector<ClassifiedImage>& answers);
/// One line with the error for each image that could not be classified.
std::string error_lines(const std::vector<ClassifiedImage>& answers);

}  // namespace offramp::cli
