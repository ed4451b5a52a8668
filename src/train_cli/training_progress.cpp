#include "train_cli/training_progress.h"

#include <fmt/format.h>

#include <csignal>
#include <vector>

#include "cli/terminal.h"
#include "core/text.h"

namespace offramp::train_cli {
namespace {

using cli::write_stderr;
using train::StepReport;
using workflow::EpochReport;

std::atomic<bool> stop_requested{false};

extern "C" void on_interrupt(int signal) {
  if (stop_requested.exchange(true)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

std::string percents(const std::vector<double>& rates) {
  std::string text;
  for (const double rate : rates)
    text += fmt::format("{}{:.1f}", text.empty() ? "" : " / ", 100 * rate);
  return text;
}

}  // namespace

void ProgressPrinter::message(const std::string& line) {
  line_.clear();
  write_stderr(fmt::format("{}\n", line));
}

void ProgressPrinter::step(const StepReport& r) {
  const auto now = std::chrono::steady_clock::now();
  const auto pause =
      line_.is_terminal() ? std::chrono::milliseconds(200) : std::chrono::seconds(30);
  if (now - drawn_at_ < pause) return;
  drawn_at_ = now;
  const auto width = static_cast<std::size_t>(20 * r.step / r.steps_per_epoch);
  line_.draw(fmt::format(
      "epoch {}/{} [{}{}] {}/{}  loss {:.3f}  train {} %  {:.0f} images/s  {} left", r.epoch,
      r.epochs, std::string(width, '='), std::string(20 - width, ' '), r.step, r.steps_per_epoch,
      r.loss, percents(r.accuracy), r.images_per_second, core::duration_text(r.seconds_left)));
}

void ProgressPrinter::epoch(const EpochReport& r) {
  line_.clear();
  write_stderr(
      fmt::format("epoch {:>3}/{}  loss {:.3f}  train {} %  tune {} %{}  {:.0f} images/s  {}\n",
                  r.epoch, r.epochs, r.loss, percents(r.train_accuracy), percents(r.tune_accuracy),
                  r.best ? " (best)" : "", r.images_per_second, core::duration_text(r.seconds)));
}

train::TrainEvents ProgressPrinter::events() {
  train::TrainEvents events;
  events.message = [this](const std::string& line) { message(line); };
  events.step = [this](const StepReport& report) { step(report); };
  events.epoch = [this](const EpochReport& report) { epoch(report); };
  return events;
}

const std::atomic<bool>& stop_at_signals() {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  return stop_requested;
}

}  // namespace offramp::train_cli
