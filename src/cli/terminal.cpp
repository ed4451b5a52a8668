#include "cli/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "core/error.h"

namespace offramp::cli {
namespace {

/// The width of a UTF-8 text in terminal columns, if every character takes one column.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;  // not a continuation byte of UTF-8
  }));
}

}  // namespace

void write_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
    throw OutputLost(errno, std::generic_category());
}

void flush_stdout() {
  if (std::fflush(stdout) != 0) throw OutputLost(errno, std::generic_category());
  // The reason of an earlier failure, for example of std::cout, is not known any more.
  if (std::ferror(stdout) != 0) throw OutputLost(EIO, std::generic_category());
}

void open_standard_streams() {
  // open() returns the lowest free descriptor, which is that of the stream. The modes are the wrong
  // ones for standard input and output, so that using them is an error as before.
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF) [[maybe_unused]]
      const int opened = ::open("/dev/null", stream == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
}

void write_stderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

bool may_color(std::FILE* stream) {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  if (no_color != nullptr && *no_color != '\0') return false;
  if (term != nullptr && std::string_view(term) == "dumb") return false;
  return isatty(fileno(stream)) != 0;
}

std::string percent(double rate) { return fmt::format("{:.2f} %", 100 * rate); }

std::string heading(std::string_view text, bool color) {
  return color ? fmt::format("\x1b[1m{}\x1b[0m", text) : std::string(text);
}

void Table::add(std::vector<std::string> cells) {
  OFFRAMP_ASSERT(cells.size() == titles_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text(bool color) const {
  std::vector<std::size_t> widths;
  for (const std::string& title : titles_) widths.push_back(width_of(title));
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));

  const auto line = [&](const std::vector<std::string>& cells) {
    std::string result;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string space(widths[i] - width_of(cells[i]), ' ');
      result += i == 0 ? "  " : "   ";
      result += i < left_columns_ ? cells[i] + space : space + cells[i];
    }
    result.erase(result.find_last_not_of(' ') + 1);
    return result;
  };
  std::string result =
      color ? fmt::format("\x1b[2m{}\x1b[0m\n", line(titles_)) : line(titles_) + "\n";
  for (const auto& row : rows_) result += line(row) + "\n";
  return result;
}

}  // namespace offramp::cli
