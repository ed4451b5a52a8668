#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace offramp::cli {

/// Names each image of the command line in turn: files as they stand, a folder's files, and for "-"
/// the lines of standard input as they arrive.
class ImageList {
 public:
  /// @throws Error for a folder without JPEG or PNG files
  explicit ImageList(const std::vector<std::string>& arguments);

  /// The next path; nullopt at the end.
  std::optional<std::string> next();
  /// Whether next() would wait for somebody to write another line.
  bool would_block();

 private:
  std::optional<std::string> take_line();
  /// False at the end of the input.
  bool read_some();

  std::vector<std::string> paths_;
  std::size_t next_ = 0;
  bool reads_input_ = false;
  std::string unread_;  ///< of standard input
};

}  // namespace offramp::cli
