#pragma once

#include <cstdint>
#include <optional>

#include "core/predictor.h"
#include "engine/opened_model.h"
#include "offramp/session.h"
#include "policy/policy.h"

namespace offramp::api {

/// Decides at every exit whether an image leaves, by a Stop without its deadline, for one model.
class [[gnu::visibility("hidden")]] StopDecision {
 public:
  /// @throws UsageError if the rule is invalid for this model
  StopDecision(const Stop& stop, const engine::OpenedModel& model);

  /// Whether an image leaves at an exit, by the rule or because the budget of multiply-accumulates
  /// does not suffice for the next exit. Updates `exit_state`, which holds the results of the
  /// image's earlier exits.
  bool leaves(const core::ExitOutput& output, policy::ExitState& exit_state) const;
  /// Whether the image left because of the budget and not because of the rule.
  /// REQUIRES: leaves() was the last call.
  bool is_limited_at(int exit_index, const policy::ExitState& exit_state) const;

  const Stop& stop() const { return stop_; }
  /// Whether the model's policy alone decides, without a budget.
  bool is_by_policy_alone() const { return stop_.rule_ == Stop::Rule::policy && !stop_.macs_; }

  static std::optional<double> milliseconds(const Stop& stop) { return stop.milliseconds_; }
  static Stop without_deadline(Stop stop) {
    stop.milliseconds_.reset();
    return stop;
  }

 private:
  Stop stop_;
  policy::Policy policy_;
  int last_exit_ = 0;  ///< 0-based index of the last exit within the budget
};

}  // namespace offramp::api
