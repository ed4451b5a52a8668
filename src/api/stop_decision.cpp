#include "api/stop_decision.h"

#include <algorithm>

#include "api/model_state.h"
#include "core/error.h"
#include "policy/criteria.h"

namespace offramp::api {

StopDecision::StopDecision(const Stop& stop, const engine::OpenedModel& model)
    : stop_(stop),
      policy_(policy::never_stop(model.num_exits())),
      last_exit_(model.num_exits() - 1) {
  const std::optional<policy::ChosenPolicy>& chosen = model.file().policy;
  if (stop.rule_ == Stop::Rule::policy && !chosen)
    throw UsageError("the model has no policy: calibrate it, or stop by another rule");
  // Except under Rule::score, probabilities use the policy's temperatures and ensemble, whichever
  // rule stops the image.
  if (chosen && stop.rule_ != Stop::Rule::score) policy_ = chosen->policy;
  if (stop.rule_ == Stop::Rule::step) {
    const policy::CertifiedPath* const path = path_of(model);
    if (path == nullptr)
      throw UsageError("step: the model file holds no path of certified policies");
    if (static_cast<std::size_t>(stop.step_) > path->chosen)
      throw UsageError(fmt::format("step: got {}, expected a certified step, 0 to {}", stop.step_,
                                   path->chosen));
    policy_.thresholds = path->steps[static_cast<std::size_t>(stop.step_)].thresholds;
  }
  if (stop.rule_ == Stop::Rule::never) std::ranges::fill(policy_.thresholds, std::nullopt);
  if (stop.rule_ == Stop::Rule::threshold) {
    if (policy::info(policy_.criterion).has_history)
      throw UsageError(
          "threshold: the model's policy uses \"patience\", which counts exits and has no score in "
          "[0, 1]; stop by policy or by the score of another criterion");
    std::ranges::fill(policy_.thresholds, stop.threshold_);
  }
  if (stop.rule_ == Stop::Rule::score) {
    policy_.criterion = static_cast<policy::Criterion>(stop.criterion_);
    std::ranges::fill(policy_.thresholds, stop.threshold_);
  }
  const std::vector<std::int64_t>& macs = model.cost().exit_macs;
  while (stop.macs_ && last_exit_ > 0 && macs[static_cast<std::size_t>(last_exit_)] > *stop.macs_)
    --last_exit_;
}

bool StopDecision::leaves(const core::ExitOutput& output, policy::ExitState& exit_state) const {
  return policy::should_exit(policy_, output.exit_index, output.logits, exit_state) ||
         output.exit_index >= last_exit_;
}

bool StopDecision::is_limited_at(int exit_index, const policy::ExitState& exit_state) const {
  if (exit_index + 1 >= policy_.num_exits()) return false;
  const auto& threshold = policy_.thresholds[static_cast<std::size_t>(exit_index)];
  return !(threshold && exit_state.score >= *threshold);
}

}  // namespace offramp::api
