#pragma once

#include <string>
#include <vector>

#include "offramp/session.h"

namespace offramp::cli {

/// An image and its answer, or why there is none.
struct Classified {
  std::string image;  ///< path
  Answer answer;
};

/// One JSON object a line.
std::string to_json_lines(const std::vector<Classified>& answers);
/// One line an image that has an answer, in columns.
std::string to_text(const std::vector<Classified>& answers);
/// One line an image that has none.
std::string error_lines(const std::vector<Classified>& answers);

}  // namespace offramp::cli
