#include "policy/foresight.h"

#include <cstddef>
#include <vector>

#include "policy/binomial.h"
#include "policy/thresholds.h"

namespace offramp {
namespace {

constexpr int kPathLevels = 200;  // as guarantee()

/// The largest rate seen on `images` that certifies `epsilon`; below 0 if none does.
double largest_certifiable_rate(std::int64_t images, double epsilon, double level) {
  std::int64_t none = -1, many = images;  // counts that pass and that do not
  while (many - none > 1) {
    const std::int64_t middle = none + (many - none) / 2;
    (binomial_cdf(middle, images, epsilon) <= level ? none : many) = middle;
  }
  return images == 0 ? -1 : static_cast<double>(none) / static_cast<double>(images);
}

}  // namespace

Chosen foresee_guarantee(const Policy& policy, const LogitsView& tune,
                         std::span<const double> costs, const GuaranteeAim& aim,
                         std::int64_t certify_images) {
  const Judgements judged = judge(policy, tune.logits, tune.classes);
  const auto harmless = harmless_table(judged, tune.labels, aim.label_free);
  const auto right = right_table(judged, tune.labels);
  const ExitTable by_harm{judged.exits, judged.images, judged.scores, harmless, costs};
  const ExitTable by_label{judged.exits, judged.images, judged.scores, right, costs};
  const auto images = static_cast<double>(tune.images());
  const double rate = largest_certifiable_rate(certify_images, aim.epsilon,
                                               level_of_attempt(aim.delta, aim.attempt));
  Thresholds boldest(policy.thresholds.size());
  for (const Thresholds& thresholds : bold_path(by_harm, kPathLevels)) {
    const std::int64_t harmed = tune.images() - apply(by_harm, thresholds).good;
    if (static_cast<double>(harmed) > rate * images) break;
    boldest = thresholds;
  }
  const Choice choice = apply(by_label, boldest);
  Chosen chosen;
  chosen.policy = policy;
  chosen.policy.thresholds = boldest;
  chosen.accuracy = static_cast<double>(choice.good) / images;
  chosen.relative_cost = choice.total_cost / images;
  chosen.met = boldest != Thresholds(boldest.size());
  return chosen;
}

}  // namespace offramp
