#include "workflow/baselines.h"

#include <fmt/format.h>

#include "policy/policy.h"

namespace offramp::workflow {

std::vector<report::ReportBaseline> own_baselines(const policy::LogitsView& view,
                                                  std::span<const double> costs,
                                                  std::span<const double> alone_costs,
                                                  std::span<const std::int64_t> answers,
                                                  const eval::PolicyMetrics& metrics) {
  using Kind = report::ReportBaseline::Kind;
  std::vector<report::ReportBaseline> controls;
  for (int k = 0; k < view.exits; ++k) {
    std::vector<std::int64_t> of_exit;
    for (std::int64_t i = 0; i < view.images(); ++i)
      of_exit.push_back(policy::argmax(view.at(k, i)));
    controls.push_back({Kind::exit, fmt::format("exit {} alone", k + 1),
                        eval::compare_with_baseline(view.labels, answers, of_exit,
                                                    alone_costs[static_cast<std::size_t>(k)])});
  }
  controls.push_back({Kind::random, "random exits at the policy's rates",
                      eval::random_exits(view, answers, metrics.shares, costs)});
  controls.push_back(
      {Kind::oracle, "oracle, which knows the label", eval::oracle(view, answers, costs)});
  return controls;
}

std::vector<report::ReportBaseline> own_baselines(const policy::LogitsView& view,
                                                  const graph::Cost& cost,
                                                  std::span<const std::int64_t> answers,
                                                  const eval::PolicyMetrics& metrics) {
  std::vector<double> alone_costs;
  for (const std::int64_t macs : cost.truncated_macs)
    alone_costs.push_back(static_cast<double>(macs) / static_cast<double>(cost.plain_macs));
  return own_baselines(view, cost.relative_costs(), alone_costs, answers, metrics);
}

std::vector<report::ReportBaseline> network_baselines(const OtherNetwork& other,
                                                      std::int64_t plain_macs,
                                                      std::span<const std::int64_t> labels,
                                                      std::span<const std::int64_t> answers) {
  using Kind = report::ReportBaseline::Kind;
  const std::size_t exits = other.cost.exit_macs.size();
  const auto relative = [&](double macs) { return macs / static_cast<double>(plain_macs); };
  std::vector<report::ReportBaseline> controls;
  controls.push_back(
      {exits == 1 ? Kind::plain : Kind::other,
       exits == 1 ? other.name : other.name + ", its last exit alone",
       eval::compare_with_baseline(labels, answers, other.last,
                                   relative(static_cast<double>(other.cost.plain_macs)))});
  if (!other.stopped) return controls;
  double macs = 0;
  for (const int k : other.stopped->exit_index)
    macs += static_cast<double>(other.cost.exit_macs[static_cast<std::size_t>(k)]);
  macs /= static_cast<double>(labels.size());
  controls.push_back(
      {Kind::other, other.name + ", its policy",
       eval::compare_with_baseline(labels, answers, other.stopped->answers, relative(macs))});
  return controls;
}

}  // namespace offramp::workflow
