#include "serve/watch.h"

#include <fmt/format.h>

#include "core/random.h"

namespace offramp::serve {
namespace {

/// The last exit's own answer has no ensemble: no exit agrees with 999 others.
Stop last_exit_alone() { return Stop::at_score("patience", 1000); }

}  // namespace

Watch::Watch(const Model& model, const std::optional<Guarantee>& guarantee,
             const WatchOptions& options, std::uint64_t seed)
    : options_(options),
      seed_(seed),
      stop_(model.has_policy() ? Stop::by_policy() : Stop::never()),
      audit_stop_(guarantee && guarantee->against == "ensemble" ? Stop::never()
                                                                : last_exit_alone()),
      last_exit_agrees_(model.ensemble() == "off" ||
                        (guarantee && guarantee->against == "ensemble")) {
  if (!guarantee) {
    why_ = "the model has no certificate";
  } else if (!guarantee->disagreement) {
    why_ =
        "no bound stored: the model file holds no bound on disagreement; \"offramp calibrate "
        "--guarantee\" certifies one";
  } else if (guarantee->in_force == InForce::no) {
    why_ = "the certificate is not in force: " + guarantee->why;
  } else if (!(*guarantee->disagreement < 1)) {
    why_ = "the certified bound on disagreement is 1, which nothing can exceed";
  } else if (!(options.audit_share > 0)) {
    why_ = "audits are switched off";
  } else {
    monitor_.emplace(*guarantee->disagreement, options.alarm_at);
    for (const PolicyStep& step : model.policy_path())
      if (step.certified && step.disagreement) step_bounds_.push_back(*step.disagreement);
    step_ = model.chosen_step().value_or(0);
  }
}

bool Watch::toss() const {
  if (!monitor_) return false;
  core::KeyedRandom random(seed_, tosses_.fetch_add(1, std::memory_order_relaxed));
  return static_cast<double>(random.next()) * 0x1p-64 < options_.audit_share;
}

bool Watch::add(bool disagrees, int generation) {
  if (!monitor_ || generation != generation_ || monitor_->alarm()) return false;
  monitor_->add(disagrees);
  if (!monitor_->alarm()) return false;
  ++alarms_;
  why_ = fmt::format("{} of {} audited images were classified differently; certified was {:.3g} %",
                     monitor_->events(), monitor_->observations(), 100 * monitor_->bound());
  react();
  return true;
}

bool Watch::add_dropped(int generation) {
  ++dropped_;
  return add(true, generation);
}

void Watch::react() {
  if (options_.on_alarm == OnAlarm::none) return;
  if (options_.on_alarm == OnAlarm::cautious && step_ > 0 &&
      static_cast<std::size_t>(step_) < step_bounds_.size()) {
    step_ /= 2;
    stop_ = Stop::at_step(step_);
    monitor_.emplace(step_bounds_[static_cast<std::size_t>(step_)], options_.alarm_at);
  } else {  // there is nothing more cautious
    stop_ = Stop::never();
  }
  ++generation_;
}

WatchStats Watch::stats() const {
  WatchStats stats;
  stats.why = why_;
  stats.audit_share = options_.audit_share;
  stats.on_alarm = options_.on_alarm;
  stats.alarm_at = options_.alarm_at;
  stats.dropped = dropped_;
  stats.alarms = alarms_;
  if (!monitor_) return stats;
  stats.state = monitor_->alarm()               ? WatchStats::State::alarm
                : monitor_->observations() == 0 ? WatchStats::State::collecting
                                                : WatchStats::State::holding;
  stats.audits = monitor_->observations();
  stats.disagreements = monitor_->events();
  stats.bound = monitor_->bound();
  stats.evidence = monitor_->evidence();
  if (alarms_ > 0 && options_.on_alarm == OnAlarm::cautious && !monitor_->alarm())
    stats.step = step_;
  return stats;
}

}  // namespace offramp::serve
