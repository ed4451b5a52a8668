#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include "cli/progress_line.h"
#include "train/run.h"
#include "workflow/progress.h"
#include "workflow/run_folder.h"

namespace offramp::train_cli {

/// Prints the progress of training: on a terminal one line that is updated in place, elsewhere a
/// new line each time.
class ProgressPrinter {
 public:
  void message(const std::string& line);
  void step(const train::StepReport& report);
  void epoch(const workflow::EpochReport& report);

  /// Functions that call this object, which must outlive them.
  train::TrainEvents events();

 private:
  cli::ProgressLine line_;
  std::chrono::steady_clock::time_point drawn_at_ = std::chrono::steady_clock::now();
};

/// Sets what SIGINT and SIGTERM do: the first stops training after the current step, a second one
/// ends the program at once. @return becomes true at the first
const std::atomic<bool>& stop_at_signals();

}  // namespace offramp::train_cli
