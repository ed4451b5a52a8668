#include "workflow/place_exits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/overloaded.h"
#include "graph/cost.h"
#include "graph/cut_points.h"
#include "graph/random_weights.h"
#include "model/remove_exits.h"
#include "policy/predict_guarantee.h"
#include "workflow/evaluate.h"
#include "workflow/exit_times.h"

namespace offramp::workflow {
namespace {

constexpr int kSearchFolds = 5;
// With fewer images, the result of a search cannot be estimated on images that it did not use.
constexpr std::int64_t kLeastHeldOut = 50;

/// The logits of some images, by their index, and of some exits, by theirs.
eval::SavedLogits subset(const eval::SavedLogits& all, const std::vector<std::size_t>& images,
                         const std::vector<int>& exits) {
  eval::SavedLogits some;
  some.exits = static_cast<int>(exits.size());
  some.classes = all.classes;
  for (const std::size_t i : images) some.labels.push_back(all.labels[i]);
  const policy::LogitsView view = all.view();
  for (const int k : exits)
    for (const std::size_t i : images) {
      const auto row = view.at(k, static_cast<std::int64_t>(i));
      some.logits.insert(some.logits.end(), row.begin(), row.end());
    }
  return some;
}

std::vector<int> numbers_to(int count) {
  std::vector<int> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(i);
  return numbers;
}

double accuracy_of(const policy::LogitsView& view, int exit_index) {
  std::int64_t right = 0;
  for (std::int64_t i = 0; i < view.images(); ++i)
    right += policy::argmax(view.at(exit_index, i)) == view.labels[static_cast<std::size_t>(i)];
  return static_cast<double>(right) / static_cast<double>(view.images());
}

class Placer {
 public:
  Placer(const model::ModelFile& model, const eval::SavedLogits& tune,
         const PlaceExitsOptions& options, const Progress& progress)
      : model_(model), tune_(tune), options_(options), progress_(progress) {
    check_fit();
    if (options.label_free) {
      label_with_last_exit(tune_);
      if (auto* harm = std::get_if<policy::HarmGuarantee>(&options_.aim)) harm->label_free = true;
    }
    search_.aim = options_.aim;
    search_.max_exits = options.max_exits;
    search_.max_threads = options.run.threads;
    search_.certify_images = static_cast<std::int64_t>(model.provenance.data.certify.size());
    search_.attempt = model.certificates + 1;
    search_.progress = [this](std::int64_t) {
      progress_.step(searches_, kSearchFolds + 1, "searches");
    };
  }

  ExitPlacement run() {
    ExitPlacement result;
    set_costs(result);
    const policy::LogitsView view = tune_.view();
    const policy::ExitSearch found = search(tune_);
    result.images = view.images();
    result.last_accuracy = accuracy_of(view, exits() - 1);
    result.chosen = found.best;
    result.best_of_size = found.best_of_size;
    result.exhaustive = found.exhaustive;
    result.evaluated = found.evaluated;
    for (int k = 0; k + 1 < exits(); ++k)
      result.candidates.push_back(candidate(k, found.single[static_cast<std::size_t>(k)]));
    for (std::size_t i = 0; i < found.best.set.size(); ++i) {
      ExitCandidate& chosen = result.candidates[static_cast<std::size_t>(found.best.set[i])];
      chosen.chosen = true;
      chosen.without = found.without[i];
    }
    result.held_out = hold_out(found.best.set);
    return result;
  }

 private:
  int exits() const { return tune_.exits; }

  void check_fit() const {
    const auto segments = graph::exit_segments(model_.graph);
    if (std::ssize(segments) != tune_.exits || model_.graph.classes != tune_.classes)
      throw Error(fmt::format("the logits are of {} exits and {} classes, the model has {} and {}",
                              tune_.exits, tune_.classes, segments.size(), model_.graph.classes));
    const auto kinds = std::ssize(options_.kinds);
    if (kinds < 1 || tune_.exits < 2 || (std::ssize(segments) - 1) % kinds != 0)
      throw Error(fmt::format("{} early exits are not {} kinds of heads at each place",
                              tune_.exits - 1, kinds));
    for (std::size_t k = 0; k + 1 < segments.size(); ++k)
      if (graph_segment(k).feature !=
          graph_segment(k - k % static_cast<std::size_t>(kinds)).feature)
        throw Error(fmt::format("exits {} and {} are not at the same place",
                                k - k % static_cast<std::size_t>(kinds) + 1, k + 1));
    eval::check(tune_.view());
  }

  const graph::Segment& graph_segment(std::size_t k) const { return model_.graph.segments[k]; }

  void set_costs(ExitPlacement& result) {
    const auto kinds = options_.kinds.size();
    for (int k = 0; k < exits(); ++k) costs_.place.push_back(k / static_cast<int>(kinds));
    if (policy::cost_unit_of(options_.aim) == policy::CostUnit::ms) {
      measure_times(result);
      return;
    }
    const graph::Cost cost = graph::cost_of(model_.graph);
    const auto plain = static_cast<double>(cost.plain_macs);
    std::int64_t body = 0;
    for (const graph::SegmentCost& segment : cost.segments) {
      body += segment.body.macs;
      costs_.body.push_back(static_cast<double>(body) / plain);
      costs_.head.push_back(static_cast<double>(segment.head.macs) / plain);
    }
    costs_.body.back() = 1;  // includes the last exit's own classifier
    costs_.head.back() = 0;
  }

  /// Measures this network, one with a head of least cost at each place, and one without early
  /// exits.
  void measure_times(ExitPlacement& result) {
    const auto every = open_model(model_, options_.run, progress_);
    const auto least = open_model(with_least_heads(), options_.run, progress_);
    std::vector<int> early(static_cast<std::size_t>(exits() - 1));
    std::iota(early.begin(), early.end(), 0);
    const auto plain = open_model(model::remove_exits(model_, early), options_.run, progress_);
    std::vector<TimedRun> runs;
    for (const auto& network : {every, least, plain})
      for (int k = 0; k < network->num_exits(); ++k) runs.push_back({network.get(), k});
    const std::vector<double> ms =
        measure_ms(runs, graph::random_images(model_.graph, options_.run.images_at_once(), 1));
    const std::span all(ms);
    const auto of_every = static_cast<std::size_t>(every->num_exits());
    const auto of_least = static_cast<std::size_t>(least->num_exits());
    PartTimes times =
        times_of_parts(all.first(of_every), all.subspan(of_every, of_least), ms.back());
    for (std::size_t k = 0; k < of_every; ++k) {
      costs_.body.push_back(times.body[k] / times.body.back());
      costs_.head.push_back(times.head[k] / times.body.back());
    }
    result.body_ms = std::move(times.body);
    result.head_ms = std::move(times.head);
  }

  model::ModelFile with_least_heads() const {
    std::vector<graph::CutPoint> points;
    for (std::size_t k = 0; k + 1 < static_cast<std::size_t>(exits()); k += options_.kinds.size())
      points.push_back({graph_segment(k).feature, graph_segment(k).name,
                        graph::infer_shapes(model_.graph).at(graph_segment(k).feature), 0, 0});
    model::ModelFile bare = model_;
    bare.graph = graph::with_every_head(model_.graph, points, {"avg"}, {1});
    bare.weights = graph::random_weights(bare.graph, 1);
    const auto segments = graph::exit_segments(bare.graph);
    for (const graph::Parameter& p : graph::parameters(bare.graph))
      if (!p.in_head || p.segment == segments.back())
        bare.weights[p.name] = model_.weights.at(p.name);
    bare.loss_weights.assign(segments.size(), 1);
    bare.policy.reset();
    return bare;
  }

  policy::ExitSearch search(const eval::SavedLogits& images) {
    const policy::Policy fitted =
        policy::fit_policy({options_.criterion, policy::Ensemble::off}, images.view());
    policy::ExitSearch found = policy::search_exits(fitted, images.view(), costs_, search_);
    ++searches_;
    return found;
  }

  ExitCandidate candidate(int k, const policy::SetValue& alone) const {
    const auto at = static_cast<std::size_t>(k);
    const policy::LogitsView view = tune_.view();
    ExitCandidate result;
    result.after = graph_segment(at).name;
    result.kind = options_.kinds[at % options_.kinds.size()];
    result.shape = graph::infer_shapes(model_.graph).at(graph_segment(at).feature);
    result.body_cost = costs_.body[at];
    result.head_cost = costs_.head[at];
    std::int64_t right = 0, same = 0;
    for (std::int64_t i = 0; i < view.images(); ++i) {
      const int answer = policy::argmax(view.at(k, i));
      right += answer == view.labels[static_cast<std::size_t>(i)];
      same += answer == policy::argmax(view.at(exits() - 1, i));
    }
    result.accuracy = static_cast<double>(right) / static_cast<double>(view.images());
    result.accuracy_interval = eval::wilson(right, view.images());
    result.agreement = static_cast<double>(same) / static_cast<double>(view.images());
    result.alone = alone;
    return result;
  }

  /// The policy for a set of exits on the images on which the set was chosen, as calibrate() would
  /// choose it.
  policy::Policy policy_for(const eval::SavedLogits& images,
                            const std::vector<double>& costs) const {
    const policy::LogitsView view = images.view();
    policy::Policy fitted = policy::fit_policy({options_.criterion, policy::Ensemble::off}, view);
    return std::visit(
        core::overloaded{[&](const policy::FixedThreshold&) { return fitted; },
                         [&](const policy::AccuracyDrop& aim) {
                           return policy::choose_thresholds(fitted, view, costs, aim,
                                                            accuracy_of(view, view.exits - 1))
                               .policy;
                         },
                         [&](const policy::MaxCost& aim) {
                           return policy::choose_thresholds(fitted, view, costs, aim).policy;
                         },
                         [&](const policy::HarmGuarantee& aim) {
                           return policy::predict_guarantee(fitted, view, costs, aim,
                                                            search_.certify_images, search_.attempt)
                               .policy;
                         }},
        options_.aim);
  }

  std::optional<HeldOutResult> hold_out(const policy::ExitSet& chosen) {
    const auto n = static_cast<std::size_t>(tune_.view().images());
    if (std::ssize(tune_.labels) < kLeastHeldOut) return std::nullopt;
    HeldOutResult result;
    result.images = static_cast<std::int64_t>(n);
    result.folds = kSearchFolds;
    std::int64_t right = 0, last_right = 0, gained = 0, lost = 0;
    double cost_sum = 0, cost_squares = 0;
    for (std::size_t fold = 0; fold < kSearchFolds; ++fold) {
      std::vector<std::size_t> inside, outside;
      for (std::size_t i = 0; i < n; ++i)
        (i % kSearchFolds == fold ? inside : outside).push_back(i);
      const policy::ExitSet set = search(subset(tune_, outside, numbers_to(exits()))).best.set;
      result.same_choice += set == chosen;
      std::vector<int> of_network = set;
      of_network.push_back(exits() - 1);
      const std::vector<double> costs = policy::costs_of_set(costs_, set);
      const policy::Policy policy = policy_for(subset(tune_, outside, of_network), costs);
      const eval::SavedLogits unseen = subset(tune_, inside, of_network);
      const StoppedAnswers stopped = replay(unseen.view(), policy);
      const std::vector<std::int64_t> last = last_exit_answers(unseen.view());
      for (std::size_t i = 0; i < inside.size(); ++i) {
        const bool ours = stopped.answers[i] == unseen.labels[i];
        const bool theirs = last[i] == unseen.labels[i];
        right += ours;
        last_right += theirs;
        gained += ours && !theirs;
        lost += theirs && !ours;
        const double cost = costs[static_cast<std::size_t>(stopped.exit_index[i])];
        cost_sum += cost;
        cost_squares += cost * cost;
      }
    }
    const auto count = static_cast<double>(n);
    const auto images = static_cast<std::int64_t>(n);
    result.accuracy = static_cast<double>(right) / count;
    result.accuracy_interval = eval::wilson(right, images);
    result.last_accuracy = static_cast<double>(last_right) / count;
    result.difference = eval::paired_difference(gained, lost, images);
    result.relative_cost = cost_sum / count;
    const double variance =
        std::max(cost_squares / count - result.relative_cost * result.relative_cost, 0.0);
    const double error = eval::kNormalQuantile975 * std::sqrt(variance / count);
    result.cost_interval = {result.relative_cost - error, result.relative_cost + error};
    result.harm = static_cast<double>(lost) / count;
    return result;
  }

  const model::ModelFile& model_;
  eval::SavedLogits tune_;
  PlaceExitsOptions options_;
  const Progress& progress_;
  policy::CandidateCosts costs_;
  policy::ExitSearchOptions search_;
  std::int64_t searches_ = 0;  ///< finished searches
};

}  // namespace

void label_with_last_exit(eval::SavedLogits& logits) {
  logits.labels = last_exit_answers(logits.view());
}

ExitPlacement place_exits(const model::ModelFile& model, const eval::SavedLogits& tune,
                          const PlaceExitsOptions& options, const Progress& progress) {
  check(options.aim, options.criterion);
  if (options.max_exits < 0)
    throw UsageError(
        fmt::format("max_exits: expected a number of at least 0, got {}", options.max_exits));
  return Placer(model, tune, options, progress).run();
}

model::ModelFile with_chosen_exits(const model::ModelFile& model, const ExitPlacement& placement) {
  std::vector<int> others;
  for (int k = 0; k < static_cast<int>(placement.candidates.size()); ++k)
    if (!placement.candidates[static_cast<std::size_t>(k)].chosen) others.push_back(k);
  return remove_exits(model, others);
}

}  // namespace offramp::workflow
