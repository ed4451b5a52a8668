#pragma once

#include <cstdint>
#include <optional>

#include "core/predictor.h"
#include "engine/opened_model.h"
#include "offramp/session.h"
#include "policy/policy.h"

namespace offramp {

/// A Stop for one model, its deadline left aside: decides at every exit whether an image leaves.
class [[gnu::visibility("hidden")]] StopDecision {
 public:
  /// @throws UsageError if the rule makes no sense for this model
  StopDecision(const Stop& stop, const engine::OpenedModel& model);

  /// Whether an image leaves at an exit, by its rule or because the budget of MACs ends there.
  /// Updates `opinion`, which has seen the exits before.
  bool leaves(const ExitOutput& output, Opinion& opinion) const;
  /// Whether it left although its rule did not say so. REQUIRES: leaves() was the last call.
  bool is_limited_at(int exit_index, const Opinion& opinion) const;

  const Stop& stop() const { return stop_; }
  /// Whether nothing but the model's policy decides at an exit.
  bool is_by_policy_alone() const { return stop_.rule_ == Stop::Rule::policy && !stop_.macs_; }

  static std::optional<double> milliseconds(const Stop& stop) { return stop.milliseconds_; }
  static Stop without_deadline(Stop stop) {
    stop.milliseconds_.reset();
    return stop;
  }

 private:
  Stop stop_;
  Policy policy_;
  int last_exit_ = 0;  ///< 0-based: beyond it lies more than the budget of MACs
};

}  // namespace offramp
