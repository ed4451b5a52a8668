#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "offramp/session.h"
#include "policy/rate_monitor.h"

namespace offramp::serve {

/// The reaction of a server when the audits show more disagreements than were certified.
enum class OnAlarm {
  none,      ///< it tells
  cautious,  ///< also uses a more cautious step of the certified path, half way to the first one
  last,      ///< also sends all images to the last exit, until the model is loaded again
};

struct WatchOptions {
  /// The share of the images that are audited, from 0 to 1. With 0, the guarantee is not watched.
  double audit_share = 0.01;
  OnAlarm on_alarm = OnAlarm::none;
  /// The least mean number of audits from the start until a false alarm, see policy::RateMonitor.
  double alarm_at = 100'000;
};

struct WatchStats {
  enum class State { off, collecting, holding, alarm };
  State state = State::off;
  /// The reason why the watch is off, or the finding that led to an alarm; otherwise empty.
  std::string why;
  double audit_share = 0;
  std::int64_t audits = 0;  ///< results so far under the current rule, including dropped ones
  std::int64_t disagreements = 0;  ///< disagreements among them, including dropped audits
  std::int64_t dropped = 0;        ///< audits without a result since the model was loaded
  std::int64_t alarms = 0;         ///< number of alarms since the model was loaded
  double bound = 0;                ///< bound on the rate of disagreements; 0 if the watch is off
  double evidence = 0;             ///< evidence against the bound
  double alarm_at = 0;
  OnAlarm on_alarm = OnAlarm::none;
  std::optional<int> step;  ///< step of the certified path, if an alarm changed it
};

/// Watches whether the rate at which a model's answers differ from those of its complete network
/// stays within the bound of its certificate. Images are chosen at random when they arrive, before
/// their answers are known. Such an image is audited: after its answer it runs again, to the last
/// exit. Only toss() may be called by several threads at a time.
class Watch {
 public:
  enum class AuditResult {
    agrees,
    disagrees,
    dropped  ///< the audit could not be finished
  };

  /// @param guarantee  of the model, after its check
  /// @param seed       seed of the random choice of audits; clients must not know it
  Watch(const Model& model, const std::optional<Guarantee>& guarantee, const WatchOptions& options,
        std::uint64_t seed);

  /// Chooses at random whether the next image is audited. Thread-safe.
  bool toss() const;
  /// The rule of images that follow the model's policy. It changes with alarms.
  const Stop& stop() const { return stop_; }
  /// The rule of an audit, whose answer is that of the reference.
  const Stop& audit_stop() const { return audit_stop_; }
  /// Whether an image that leaves at the last exit agrees with the reference without an audit: not
  /// if an ensemble answers and the reference is the last exit alone.
  bool last_exit_agrees() const { return last_exit_agrees_; }
  /// A number that changes with stop(): results of images that stopped by an earlier rule are
  /// ignored.
  int generation() const { return generation_; }
  /// Adds the result of an audit. The order of the results must not depend on their values. A
  /// dropped audit counts as a disagreement, so that the watch cannot be disabled by overloading
  /// the server. But the rule changes only if there would be an alarm without the dropped audits
  /// too, because a more cautious rule makes an overload worse.
  /// @return whether it raised an alarm
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
  const bool is_on_;  // constant, because toss() must not depend on what alarms change
  // [certified steps] bounds on disagreement; no value: the code that runs here has none for that
  // step
  std::vector<std::optional<double>> step_bounds_;
  // They have values only if the watch is on. The second one gets no dropped audits.
  std::optional<policy::RateMonitor> monitor_, finished_;
  std::int64_t dropped_ = 0, dropped_by_rule_ = 0, alarms_ = 0;
  int step_ = 0, generation_ = 0;
};

}  // namespace offramp::serve
