#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace offramp::serve {

/// One part of a multipart/form-data body. Its content refers to the body.
struct Part {
  std::string name;
  std::string file_name;  ///< empty: the part is a text field
  std::string_view content;
};

/// Whether a Content-Type header says multipart/form-data.
bool is_multipart(std::string_view content_type);

/// @param content_type  of the request, with the boundary
/// @throws HttpError 400 "multipart: what is wrong", 413 for more than `max_parts` parts
std::vector<Part> parse_multipart(std::string_view content_type, std::string_view body,
                                  std::size_t max_parts);

}  // namespace offramp::serve
