#include "cli/image_path_reader.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.h"
#include "image/image.h"
#include "image/signature.h"

namespace offramp::cli {
namespace {

namespace fs = std::filesystem;

/// The largest length of a line, far more than a path may have (4,096 bytes on Linux).
constexpr std::size_t kMaxLineBytes = std::size_t{1} << 16;

/// Lists all image files in a folder and its subfolders, sorted by path.
std::vector<std::string> images_below(const std::string& folder) {
  std::vector<std::string> found;
  try {
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && image::has_image_extension(entry.path().native()))
        found.push_back(entry.path().string());
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("{}: {}", folder, error.code().message()));
  }
  if (found.empty())
    throw Error(fmt::format("{}: no {} file in this folder", folder, image::kFormats));
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

ImagePathReader::ImagePathReader(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    std::error_code ignored;
    if (argument == "-") {
      reads_input_ = true;
    } else if (fs::is_directory(argument, ignored)) {
      for (std::string& path : images_below(argument)) paths_.push_back(std::move(path));
    } else {
      paths_.push_back(argument);
    }
  }
}

std::optional<std::string> ImagePathReader::next() {
  if (next_ < paths_.size()) return paths_[next_++];
  if (reads_input_ && !std::exchange(began_reading_, true) && input_is_image()) {
    read_input_image();
    return "-";
  }
  while (reads_input_) {
    auto line = take_line();
    if (!line) {
      if (read_some()) continue;
      reads_input_ = false;
      line = std::exchange(unread_, {});  // the last line may lack its newline
    }
    if (!line->empty() && line->back() == '\r') line->pop_back();
    if (!line->empty()) return line;
  }
  return std::nullopt;
}

bool ImagePathReader::would_block() {
  if (next_ < paths_.size() || !reads_input_) return false;
  for (;;) {
    // next() skips blank lines, so a blank line does not count as a line to return.
    while (unread_.starts_with('\n') || unread_.starts_with("\r\n"))
      unread_.erase(0, unread_.find('\n') + 1);
    if (unread_.find('\n') != unread_.npos) return false;
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 0) == 0) return true;
    if (!read_some()) return false;
  }
}

std::span<const std::byte> ImagePathReader::input_image() const {
  if (!has_input_image_) return {};
  return std::as_bytes(std::span(unread_));
}

bool ImagePathReader::input_is_image() {
  const auto is_image = [&] {
    return image::has_image_signature(std::as_bytes(std::span(unread_)));
  };
  // A line that is complete is a path, and the program that wrote it may be waiting for its answer.
  // Only PNG always has a newline in its signature; the length of a WebP or BMP may hold one, but
  // their first bytes come in one read.
  while (!is_image() && unread_.size() < image::kSignatureBytes &&
         (unread_.find('\n') == unread_.npos || unread_.starts_with('\x89')) && read_some()) {
  }
  return is_image();
}

void ImagePathReader::read_input_image() {
  has_input_image_ = true;  // so that its bytes are not taken for a line
  while (read_some())
    if (unread_.size() > image::kMaxImageBytes)
      throw Error(fmt::format("standard input: larger than the limit of {} MB for an image",
                              image::kMaxImageBytes >> 20));
  reads_input_ = false;
}

std::optional<std::string> ImagePathReader::take_line() {
  const std::size_t end = unread_.find('\n');
  if (end == unread_.npos) return std::nullopt;
  std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  return line;
}

bool ImagePathReader::read_some() {
  char bytes[4096];
  ssize_t count = 0;
  do count = read(STDIN_FILENO, bytes, sizeof bytes);
  while (count < 0 && errno == EINTR);
  if (count < 0) throw Error(fmt::format("standard input: cannot read: {}", std::strerror(errno)));
  if (count == 0) return false;
  unread_.append(bytes, static_cast<std::size_t>(count));
  if (!has_input_image_ && unread_.size() - (unread_.rfind('\n') + 1) > kMaxLineBytes)
    throw Error(fmt::format(
        "standard input: a line is longer than {} bytes; expected the path of one image on each "
        "line",
        kMaxLineBytes));
  return true;
}

}  // namespace offramp::cli
