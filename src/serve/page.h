#pragma once

#include <string_view>

namespace offramp::serve {

/// A file of the page at "/", which is compiled into the program.
struct PageFile {
  std::string_view name;  ///< "index.html"
  std::string_view content_type;
  std::string_view content;
  std::string_view hash;  ///< hash of the content, for the header ETag
};

/// @return the file with this name; nullptr if the page has none
const PageFile* find_page_file(std::string_view name);

}  // namespace offramp::serve
