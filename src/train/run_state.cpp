#include "train/run_state.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace offramp::train {

void RunState::begin_epoch() {
  loss_sum = epoch_seconds = epoch_wait = 0;
  seen = 0;
  std::ranges::fill(correct, 0);
}

core::Tensors RunState::save() const {
  std::vector<std::int64_t> values = {step,
                                      std::bit_cast<std::int64_t>(seconds),
                                      std::bit_cast<std::int64_t>(best_score),
                                      std::bit_cast<std::int64_t>(loss_sum),
                                      seen,
                                      std::bit_cast<std::int64_t>(epoch_seconds),
                                      std::bit_cast<std::int64_t>(epoch_wait)};
  values.insert(values.end(), correct.begin(), correct.end());
  core::Tensors result;
  result["run_state"] = core::HostTensor::of({static_cast<std::int64_t>(values.size())},
                                             std::span<const std::int64_t>(values));
  return result;
}

void RunState::load(const core::Tensors& saved, std::size_t exits) {
  const auto found = saved.find("run_state");
  constexpr std::size_t kFixed = 7;
  if (found == saved.end() || found->second.count() != static_cast<std::int64_t>(kFixed + exits))
    throw Error("tensor \"run_state\": missing or of another network");
  const auto values = found->second.as<std::int64_t>();
  step = values[0];
  seconds = std::bit_cast<double>(values[1]);
  best_score = std::bit_cast<double>(values[2]);
  loss_sum = std::bit_cast<double>(values[3]);
  seen = values[4];
  epoch_seconds = std::bit_cast<double>(values[5]);
  epoch_wait = std::bit_cast<double>(values[6]);
  correct.assign(values.begin() + kFixed, values.end());
}

}  // namespace offramp::train
