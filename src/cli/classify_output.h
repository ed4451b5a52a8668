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

/// Images that were classified together.
struct ClassifiedBatch {
  std::vector<ClassifiedImage> images;
  double ms_per_image = 0;  ///< time of the whole batch, with decoding, divided by its images
};

/// How answers are shown.
struct AnswerFormat {
  std::vector<std::string> classes;  ///< [classes] names
  int top_k = 0;                     ///< number of most probable classes to show; 0: none
};

/// One line with a JSON object for each image. Answers must have their probabilities.
/// @param guarantee  the model's certificate, if it has one, and whether it is in force after these
///                   images
std::string to_json_lines(const ClassifiedBatch& batch, const AnswerFormat& format,
                          const std::optional<Guarantee>& guarantee);
/// One line in columns for each image that was classified. Answers must have their probabilities if
/// top_k is above 0.
std::string to_text(const std::vector<ClassifiedImage>& answers, const AnswerFormat& format);
/// One line with the error for each image that could not be classified.
std::string error_lines(const std::vector<ClassifiedImage>& answers);

}  // namespace offramp::cli
