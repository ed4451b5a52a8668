#include "api/statistics.h"

namespace offramp::api {

Statistics::Statistics(const engine::OpenedModel& model)
    : model_(model),
      exits_(static_cast<std::size_t>(model.num_exits())),
      recent_(model.num_exits()) {}

void Statistics::add(int exit_index, std::int64_t macs, bool by_policy) {
  ++images_;
  ++exits_[static_cast<std::size_t>(exit_index)];
  macs_ += macs;
  if (by_policy) recent_.add(exit_index);
}

void Statistics::reset() {
  images_ = macs_ = 0;
  exits_.assign(exits_.size(), 0);
  recent_ = policy::ExitWindow(model_.num_exits());
}

Stats Statistics::stats(bool by_policy) const {
  Stats stats;
  stats.images = images_;
  stats.exits = exits_;
  stats.macs = macs_;
  const auto images = static_cast<double>(images_);
  for (const std::int64_t count : exits_)
    stats.shares.push_back(images_ == 0 ? 0 : static_cast<double>(count) / images);
  if (images_ > 0)
    stats.relative_cost =
        static_cast<double>(macs_) / images / static_cast<double>(model_.cost().plain_macs);
  stats.recent_shares = recent_.shares();
  const std::optional<policy::ChosenPolicy>& chosen = model_.file().policy;
  if (!chosen || !chosen->seen) return stats;
  stats.calibrated_shares = chosen->seen->shares;
  stats.calibrated_images = chosen->seen->images;
  if (!by_policy) return stats;
  const policy::DriftVerdict verdict = *drift();
  stats.drift_distance = verdict.distance;
  stats.drift_p_value = verdict.p_value;
  if (verdict.drift == policy::Drift::none) stats.drift = DriftFlag::none;
  if (verdict.drift == policy::Drift::drifted) stats.drift = DriftFlag::drifted;
  return stats;
}

std::optional<policy::DriftVerdict> Statistics::drift() const {
  const std::optional<policy::ChosenPolicy>& chosen = model_.file().policy;
  if (!chosen || !chosen->seen) return std::nullopt;
  return policy::compare_exits(recent_.shares(), recent_.images(), chosen->seen->shares,
                               static_cast<double>(chosen->seen->images));
}

}  // namespace offramp::api
