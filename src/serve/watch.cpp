#include "serve/watch.h"

#include <fmt/format.h>

#include "core/random.h"

namespace offramp::serve {
namespace {

/// Returns a rule that stops at the last exit, without an ensemble: no image has 999 agreeing
/// exits.
Stop last_exit_alone() { return Stop::at_score("patience", 1000); }

/// Whether a rate can exceed the bound, and be compared with it.
bool can_watch(double bound) { return bound > 0 && bound < 1; }

/// Returns why the guarantee is not watched; empty if it is.
std::string reason_off(const std::optional<Guarantee>& guarantee, const WatchOptions& options) {
  if (!guarantee) return "the model has no certificate";
  if (!guarantee->disagreement)
    return "no bound stored: the model file holds no bound on disagreement; \"offramp calibrate "
           "--guarantee\" certifies one, which counts as another attempt";
  if (guarantee->in_force == InForce::no)
    return "the certificate is not in force: " + guarantee->why;
  if (!can_watch(*guarantee->disagreement))
    return fmt::format(
        "the certified bound on disagreement is {:.3g}, expected one between 0 and 1",
        *guarantee->disagreement);
  if (!(options.audit_share > 0)) return "audits are switched off";
  return "";
}

}  // namespace

Watch::Watch(const Model& model, const std::optional<Guarantee>& guarantee,
             const WatchOptions& options, std::uint64_t seed)
    : options_(options),
      seed_(seed),
      stop_(model.has_policy() ? Stop::by_policy() : Stop::never()),
      audit_stop_(guarantee && guarantee->against == "ensemble" ? Stop::never()
                                                                : last_exit_alone()),
      last_exit_agrees_(model.ensemble() == "off" ||
                        (guarantee && guarantee->against == "ensemble")),
      why_(reason_off(guarantee, options)),
      is_on_(why_.empty()) {
  if (!is_on_) return;
  watch(*guarantee->disagreement);
  for (const PolicyStep& step : model.policy_path())
    if (step.certified) step_bounds_.push_back(step.disagreement);
  step_ = model.chosen_step().value_or(0);
}

bool Watch::toss() const {
  if (!is_on_) return false;
  core::KeyedRandom random(seed_, tosses_.fetch_add(1, std::memory_order_relaxed));
  return static_cast<double>(random.next()) * 0x1p-64 < options_.audit_share;
}

void Watch::watch(double bound) {
  monitor_.emplace(bound, options_.alarm_at);
  finished_.emplace(bound, options_.alarm_at);
  dropped_by_rule_ = 0;
}

bool Watch::add(AuditResult result, int generation) {
  const bool dropped = result == AuditResult::dropped;
  if (dropped) ++dropped_;
  if (!is_on_ || generation != generation_ || finished_->alarm()) return false;
  const bool had_alarm = monitor_->alarm();
  monitor_->add(result != AuditResult::agrees);
  if (dropped)
    ++dropped_by_rule_;
  else
    finished_->add(result == AuditResult::disagrees);
  if (monitor_->alarm() == had_alarm && !finished_->alarm()) return false;
  ++alarms_;
  why_ = fmt::format(
      "{} of {} audited images were classified differently{}; the certified bound is {:.3g} %",
      finished_->events(), finished_->observations(),
      dropped_by_rule_ > 0 ? fmt::format(", and {} audits could not be finished", dropped_by_rule_)
                           : "",
      100 * monitor_->bound());
  if (finished_->alarm()) react();
  return true;
}

void Watch::react() {
  if (options_.on_alarm == OnAlarm::none) return;
  const std::size_t next = static_cast<std::size_t>(step_) / 2;
  if (options_.on_alarm == OnAlarm::cautious && step_ > 0 && next < step_bounds_.size() &&
      step_bounds_[next] && can_watch(*step_bounds_[next])) {
    step_ /= 2;
    stop_ = Stop::at_step(step_);
    watch(*step_bounds_[next]);
  } else {  // no more cautious step has a bound
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
  if (generation_ > 0 && stop_ != Stop::never()) stats.step = step_;
  return stats;
}

}  // namespace offramp::serve
