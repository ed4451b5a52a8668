#include "cli/progress.h"

#include <fmt/format.h>

#include <memory>
#include <set>
#include <string>

#include "cli/progress_line.h"
#include "cli/terminal.h"

namespace offramp::cli {
namespace {

class ProgressPrinter {
 public:
  void report(std::int64_t done, std::int64_t total, std::string_view unit) {
    if (!line_.is_terminal()) return;
    if (done == total) {
      line_.clear();
    } else {
      line_.draw(fmt::format("{} of {} {}", done, total, unit));
    }
  }

  void note(std::string_view line) {
    if (!notes_.emplace(line).second) return;
    line_.clear();
    write_stderr(printable(line) + "\n");
  }

 private:
  ProgressLine line_;
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
