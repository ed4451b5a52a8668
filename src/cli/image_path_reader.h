#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace offramp::cli {

/// The paths of the images that a command line gives, one after the other: a file is itself, a
/// folder gives its image files, and "-" gives the lines of standard input as they arrive. If
/// standard input begins like an image file instead, it is one image, and its path is "-".
class ImagePathReader {
 public:
  /// @throws Error for a folder without image files
  explicit ImagePathReader(const std::vector<std::string>& arguments);

  /// Returns the next path; nullopt at the end. Waits for standard input if no line is there yet.
  /// @throws Error "standard input: …" if it cannot be read, has a line of more than 64 KiB, or is
  /// an image larger than image::kMaxImageBytes
  std::optional<std::string> next();
  /// The bytes of the image on standard input, once next() has returned "-" for it; else empty.
  std::span<const std::byte> input_image() const;
  /// True if next() would have to wait for another line on standard input.
  bool would_block();

 private:
  /// Reads as much of standard input as shows whether it is an image.
  bool input_is_image();
  void read_input_image();
  /// Removes the first complete line from unread_; nullopt if there is none.
  std::optional<std::string> take_line();
  /// Appends what can be read from standard input to unread_; false at the end of the input.
  bool read_some();

  std::vector<std::string> paths_;
  std::size_t next_ = 0;
  bool reads_input_ = false;
  bool began_reading_ = false;    ///< whether it is known that standard input is not an image
  bool has_input_image_ = false;  ///< unread_ holds the image on standard input
  std::string unread_;  ///< text read from standard input that next() has not returned yet
};

}  // namespace offramp::cli
