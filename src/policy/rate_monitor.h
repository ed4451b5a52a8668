#pragma once

#include <cstdint>
#include <vector>

namespace offramp::policy {

/// Watches a stream of events for a rate above a bound: a sequential change detector.
///
/// For each of several rates q above the bound b, the likelihood ratio of an event is q / b, and
/// that of none (1 - q) / (1 - b). As long as the rate is at most b, its mean is at most 1, so the
/// product of the ratios is an e-process: a bet against the bound that wins nothing on average
/// (Waudby-Smith and Ramdas, 2024). A change may come at any time, so that a new bet begins with
/// every observation; the evidence is the sum of all bets, averaged over the rates q. This is the
/// Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo (2024): if the observations are
/// independent with a rate of at most b, then the alarm, when the evidence reaches `alarm_at`,
/// comes at least `alarm_at` observations after the start on average, however long the stream is.
class RateMonitor {
 public:
  /// @param bound     in (0, 1)
  /// @param alarm_at  above 1: observations until a false alarm, on average at least
  RateMonitor(double bound, double alarm_at);

  /// Adds an observation. After an alarm, observations have no effect until restart().
  void add(bool event);
  bool alarm() const { return alarm_; }
  /// The evidence against the bound; 0 before the first observation.
  double evidence() const { return evidence_; }
  double bound() const { return bound_; }
  double alarm_at() const { return alarm_at_; }
  std::int64_t observations() const { return observations_; }
  std::int64_t events() const { return events_; }
  /// Forgets all observations.
  void restart();

 private:
  /// The sum of the bets on one rate above the bound.
  struct Bets {
    double if_event, if_none;  ///< likelihood ratios
    double sum = 0;
  };
  double bound_, alarm_at_;
  std::vector<Bets> bets_;
  double evidence_ = 0;
  std::int64_t observations_ = 0, events_ = 0;
  bool alarm_ = false;
};

}  // namespace offramp::policy
