#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/text.h"

namespace offramp::cli {

/// Standard output could not be written: a closed pipe, a full disk.
class OutputLost : public std::system_error {
 public:
  using std::system_error::system_error;
};

/// Writes to standard output, which may keep the text in its buffer. @throws OutputLost
void write_stdout(std::string_view text);
/// Flushes the buffer of standard output. @throws OutputLost, also if an earlier write failed
void flush_stdout();
/// Takes the descriptors of standard streams that are closed, so that no file that is opened later
/// gets one of them and with it the text for that stream. Call it before any file is opened.
void open_standard_streams();

/// Writes to standard error. Failures are ignored, so that a lost message does not end the work.
void write_stderr(std::string_view text);

/// True if colours may be written to `stream`: it is a terminal, NO_COLOR is not set and TERM is
/// not dumb.
bool may_color(std::FILE* stream);

/// Formats a fraction as a percentage: 0.8641 becomes "86.41 %".
std::string percent(double rate);

using core::printable;

/// Formats a heading, in bold if `color` is true.
std::string heading(std::string_view text, bool color);

/// A text table with aligned columns: the first `left_columns` to the left, the others to the
/// right.
class Table {
 public:
  Table(std::vector<std::string> titles, std::size_t left_columns = 1)
      : titles_(std::move(titles)), left_columns_(left_columns) {}

  void add(std::vector<std::string> cells);
  /// The titles and rows as lines that end in newlines; the titles are dimmed if `color` is true.
  std::string text(bool color) const;

 private:
  std::vector<std::string> titles_;
  std::size_t left_columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace offramp::cli
