#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "offramp/session.h"
#include "policy/rate_monitor.h"

namespace offramp::serve {

/// What a server does when the audits show more disagreements than were certified.
enum class OnAlarm {
  none,      ///< it tells
  cautious,  ///< it also uses a more cautious step of the certified path, half way to the first
  last,      ///< it also sends all images to the last exit, until the model is loaded again
};

struct WatchOptions {
  /// The share of the images that are audited, 0 to 1; 0: nothing is watched.
  double audit_share = 0.01;
  OnAlarm on_alarm = OnAlarm::none;
  /// Audits from the start until a false alarm, on average at least: see policy::RateMonitor.
  double alarm_at = 100'000;
};

struct WatchStats {
  enum class State { off, collecting, holding, alarm };
  State state = State::off;
  std::string why;  ///< why it is off, or what led to an alarm; else empty
  double audit_share = 0;
  std::int64_t audits = 0;         ///< results so far under the rule in use, the dropped included
  std::int64_t disagreements = 0;  ///< of them, the dropped included
  std::int64_t dropped = 0;        ///< audits without a result since the model was loaded
  std::int64_t alarms = 0;         ///< since the model was loaded
  double bound = 0;                ///< on the rate of disagreements; 0 if off
  double evidence = 0;             ///< against the bound
  double alarm_at = 0;
  OnAlarm on_alarm = OnAlarm::none;
  std::optional<int> step;  ///< of the path, if an alarm changed it
};

/// Watches whether the answers of a model differ from those of its complete network no more often
/// than its certificate says. A coin for each image decides at its arrival, before anything is
/// known of it, whether it is audited: after its answer it runs to the last exit. All functions but
/// toss() are for one thread at a time.
class Watch {
 public:
  enum class AuditResult {
    agrees,
    disagrees,
    dropped  ///< the audit could not be finished
  };

  /// @param guarantee  of the model, after its check
  /// @param seed       of the coin; clients must not know it
  Watch(const Model& model, const std::optional<Guarantee>& guarantee, const WatchOptions& options,
        std::uint64_t seed);

  /// Whether the next image is audited. Thread-safe.
  bool toss() const;
  /// The rule of images that follow the model's policy. It changes with alarms.
  const Stop& stop() const { return stop_; }
  /// The rule that an audit runs with: its answer is the reference's.
  const Stop& audit_stop() const { return audit_stop_; }
  /// Whether an image that leaves at the last exit agrees with the reference without an audit: not
  /// if an ensemble answers and the reference is the last exit alone.
  bool last_exit_agrees() const { return last_exit_agrees_; }
  /// A number that changes with stop(): results of images that stopped by an earlier rule are
  /// ignored.
  int generation() const { return generation_; }
  /// Adds the result of an audit. Their order must not depend on the results. A dropped audit
  /// counts as a disagreement, so that nobody can keep the watch blind; but only an alarm that
  /// comes without the dropped ones too changes the rule, because a more cautious rule makes an
  /// overload worse. @return whether it raised an alarm
  bool add(AuditResult result, int generation);
  WatchStats stats() const;

 private:
  void watch(double bound);
  void react();

  const WatchOptions options_;
  const std::uint64_t seed_;
  mutable std::atomic<std::uint64_t> tosses_ = 0;
  Stop stop_, audit_stop_;
  bool last_exit_agrees_;
  std::string why_;
  const bool is_on_;  // toss() must not depend on what alarms change
  // [certified steps] no value: the code that runs here has no bound for that step
  std::vector<std::optional<double>> step_bounds_;
  // Values only if the watch is on. The second one has no dropped audits.
  std::optional<policy::RateMonitor> monitor_, finished_;
  std::int64_t dropped_ = 0, dropped_by_rule_ = 0, alarms_ = 0;
  int step_ = 0, generation_ = 0;
};

}  // namespace offramp::serve
