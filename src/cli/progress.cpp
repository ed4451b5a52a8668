#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <string>

#include "cli/terminal.h"

namespace offramp::cli {
namespace {

class ProgressPrinter {
 public:
  ~ProgressPrinter() { clear(); }

  void report(std::int64_t done, std::int64_t total, std::string_view unit) {
    if (!terminal_) return;
    clear();
    if (done == total) return;
    write_stderr(fmt::format("{} of {} {}", done, total, unit));
    drawn_ = true;
  }

  void note(std::string_view line) {
    if (!notes_.emplace(line).second) return;
    clear();
    write_stderr(printable(line) + "\n");
  }

 private:
  void clear() {
    if (drawn_) write_stderr("\r\x1b[K");
    drawn_ = false;
  }

  bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool drawn_ = false;
  std::set<std::string> notes_;
};

}  // namespace

workflow::Progress terminal_progress() {
  const auto printer = std::make_shared<ProgressPrinter>();
  workflow::Progress progress;
  progress.report = [printer](std::int64_t done, std::int64_t total, std::string_view unit) {
    printer->report(done, total, unit);
  };
  progress.note = [printer](std::string_view line) { printer->note(line); };
  return progress;
}

}  // namespace offramp::cli
