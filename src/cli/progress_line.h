#pragma once

#include <unistd.h>

#include <string>
#include <string_view>

#include "cli/terminal.h"

namespace offramp::cli {

/// A line on standard error that shows progress. On a terminal it is redrawn in place. The
/// destructor erases it.
class ProgressLine {
 public:
  ProgressLine() = default;
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { clear(); }

  /// Whether standard error is a terminal.
  bool is_terminal() const { return is_terminal_; }

  /// Replaces the line. Where standard error is not a terminal, prints a new line.
  void draw(std::string_view text) {
    write_stderr(is_terminal_ ? kErase + std::string(text) : std::string(text) + "\n");
    is_drawn_ = is_terminal_;
  }

  /// Erases the line, so that other output can take its place.
  void clear() {
    if (is_drawn_) write_stderr(kErase);
    is_drawn_ = false;
  }

  /// Leaves the line as it is; the next output begins on a new line.
  void finish() {
    if (is_drawn_) write_stderr("\n");
    is_drawn_ = false;
  }

 private:
  static inline const std::string kErase = "\r\x1b[K";

  bool is_terminal_ = isatty(STDERR_FILENO) != 0;
  bool is_drawn_ = false;
};

}  // namespace offramp::cli
