#pragma once

#include <string_view>

namespace offramp::serve {

/// A file of the page at "/", compiled in.
struct PageFile {
  std::string_view name;  ///< "index.html"
  std::string_view content_type;
  std::string_view content;
  std::string_view hash;  ///< of the content, for ETag
};

/// @return nullptr if the page has no such file
const PageFile* find_page_file(std::string_view name);

}  // namespace offramp::serve
