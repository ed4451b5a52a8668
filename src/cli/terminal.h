#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace offramp::cli {

/// Writes to standard output. @throws std::system_error if it cannot be written (a closed pipe, a
/// full disk)
void write_out(std::string_view text);

/// Writes to standard error. What is told there must not end the work: that nobody reads it any
/// more, or that it cannot be written, is ignored.
void tell(std::string_view text);

/// True if `stream` is a terminal that may be coloured: NO_COLOR is not set and TERM is not dumb.
bool may_color(std::FILE* stream);

/// 0.8641 -> "86.41 %".
std::string percent(double rate);

/// Text from a file name or a class: control characters are shown as "?", for a terminal must not
/// act on them.
std::string printable(std::string_view text);

/// A heading, bold where colour is allowed.
std::string heading(std::string_view text, bool color);

/// Columns aligned by what they hold: the first ones to the left, all others to the right.
class Table {
 public:
  Table(std::vector<std::string> titles, std::size_t left_columns = 1)
      : titles_(std::move(titles)), left_columns_(left_columns) {}

  void add(std::vector<std::string> cells);
  /// The lines, each ending in a newline; the titles dimmed where colour is allowed.
  std::string text(bool color) const;

 private:
  std::vector<std::string> titles_;
  std::size_t left_columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace offramp::cli
