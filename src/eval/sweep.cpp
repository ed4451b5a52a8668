#include "eval/sweep.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/error.h"
#include "core/numbers.h"
#include "core/parallel.h"
#include "policy/criteria.h"

namespace offramp::eval {
namespace {

// Splits the range 0 … count into consecutive pieces and calls work(part, first, end) for each.
template <typename Work>
void for_each_chunk(std::int64_t count, int chunks, const Work& work) {
  core::parallel_for(
      static_cast<std::size_t>(chunks),
      [&](std::size_t i) {
        const auto chunk = static_cast<int>(i);
        work(chunk, count * chunk / chunks, count * (chunk + 1) / chunks);
      },
      chunks);
}

// Returns the number of pieces to split the images into. Each has at least 500 images, so that
// starting a thread is worthwhile.
int num_chunks(const policy::LogitsView& view, int threads) {
  if (threads > 0) return threads;
  return static_cast<int>(std::clamp<std::int64_t>(view.images() / 500, 1, core::usable_cores()));
}

// The scores [criteria, K] and predicted classes [K] of one image.
struct ImageScores {
  std::vector<float> scores;
  std::vector<int> answers;
  int of_last_exit = 0;  // the class that the last exit alone predicts, whatever the ensemble
};

void score_image(const policy::Policy& shape, std::span<const policy::Criterion> criteria,
                 const policy::LogitsView& view, std::int64_t image, policy::ExitState& exit_state,
                 ImageScores& image_scores) {
  const auto exits = static_cast<std::size_t>(view.exits);
  image_scores.scores.resize(criteria.size() * exits);
  image_scores.answers.resize(exits);
  image_scores.of_last_exit = policy::argmax(view.at(view.exits - 1, image));
  for (std::size_t k = 0; k < exits; ++k) {
    policy::update_exit_state(shape, static_cast<int>(k), view.at(static_cast<int>(k), image),
                              exit_state);
    image_scores.answers[k] = exit_state.answer;
    for (std::size_t c = 0; c < criteria.size(); ++c)
      image_scores.scores[c * exits + k] = policy::score(criteria[c], exit_state);
  }
}

// Counts of images for M thresholds, stored as differences: an image that stops at exit k for the
// thresholds with index from … to - 1 adds 1 at `from` and subtracts 1 at `to`. The count of a
// threshold is the sum up to its index.
struct Counts {
  std::vector<std::int64_t> stopped, correct, harmed, helped;  // [K, M + 1], others [M + 1]

  Counts(std::size_t exits, std::size_t thresholds)
      : stopped(exits * (thresholds + 1)),
        correct(thresholds + 1),
        harmed(thresholds + 1),
        helped(thresholds + 1) {}

  void add(std::vector<std::int64_t>& into, std::size_t from, std::size_t to) {
    ++into[from];
    --into[to];
  }
};

void count_image(std::span<const float> thresholds, std::span<const float> scores,
                 const ImageScores& image_scores, int label, Counts& counts) {
  const std::size_t last = image_scores.answers.size() - 1;
  const std::size_t size = thresholds.size();
  const bool last_correct = image_scores.of_last_exit == label;
  // An earlier exit has reached the thresholds with an index below `reached`.
  std::size_t reached = 0;
  for (std::size_t k = 0; k <= last && reached < size; ++k) {
    const std::size_t to =
        k == last ? size
                  : static_cast<std::size_t>(
                        std::upper_bound(thresholds.begin(), thresholds.end(), scores[k]) -
                        thresholds.begin());
    // std::upper_bound treats NaN as larger than every threshold, but NaN must reach none.
    if ((k < last && std::isnan(scores[k])) || to <= reached) continue;
    const bool is_correct = image_scores.answers[k] == label;
    const auto row = std::span(counts.stopped).subspan(k * (size + 1), size + 1);
    ++row[reached];
    --row[to];
    if (is_correct) counts.add(counts.correct, reached, to);
    if (last_correct && !is_correct) counts.add(counts.harmed, reached, to);
    if (is_correct && !last_correct) counts.add(counts.helped, reached, to);
    reached = to;
  }
}

void check_request(const policy::Policy& shape, std::span<const policy::Criterion> criteria,
                   const policy::LogitsView& view) {
  if (view.images() == 0) throw Error("no image to sweep over");
  if (criteria.empty()) throw Error("no criterion to sweep over");
  if (view.exits < 1 || shape.num_exits() != view.exits)
    throw Error(fmt::format("temperatures: got {}, expected {}: one for each exit",
                            shape.num_exits(), view.exits));
  policy::Policy fitted = shape;
  fitted.thresholds.assign(shape.temperatures.size() - 1, std::nullopt);
  check(fitted, view.exits);
  const auto classes = static_cast<std::size_t>(std::max(view.classes, 0));
  if (classes == 0 ||
      view.logits.size() != static_cast<std::size_t>(view.exits) * view.labels.size() * classes)
    throw Error(fmt::format("{} logits do not fit {} exits, {} images and {} classes",
                            view.logits.size(), view.exits, view.images(), view.classes));
}

}  // namespace

std::vector<std::vector<float>> sweep_thresholds(const policy::Policy& shape,
                                                 std::span<const policy::Criterion> criteria,
                                                 const policy::LogitsView& view, int count,
                                                 int threads) {
  check_request(shape, criteria, view);
  OFFRAMP_ASSERT(count >= 1);
  const auto exits = static_cast<std::size_t>(view.exits);
  std::vector<std::vector<float>> lists(criteria.size());
  if (exits == 1) return lists;
  // A score matters only if it is higher than the scores of all earlier exits.
  using Records = std::vector<std::vector<float>>;
  const int chunks = num_chunks(view, threads);
  std::vector<Records> records(static_cast<std::size_t>(chunks), Records(criteria.size()));
  for_each_chunk(view.images(), chunks, [&](int chunk, std::int64_t first, std::int64_t end) {
    policy::ExitState exit_state;
    ImageScores image_scores;
    Records& mine = records[static_cast<std::size_t>(chunk)];
    for (std::int64_t image = first; image < end; ++image) {
      score_image(shape, criteria, view, image, exit_state, image_scores);
      for (std::size_t c = 0; c < criteria.size(); ++c) {
        float highest = -INFINITY;
        for (std::size_t k = 0; k + 1 < exits; ++k) {
          const float value = image_scores.scores[c * exits + k];
          if (!(value > highest)) continue;
          mine[c].push_back(value);
          highest = value;
        }
      }
    }
  });
  for (std::size_t c = 0; c < criteria.size(); ++c) {
    std::vector<float> values;
    float never = 2;  // above every score of the criteria other than patience
    if (policy::info(criteria[c]).has_history) {
      never = static_cast<float>(exits);
      for (std::size_t k = 1; k < exits; ++k) values.push_back(static_cast<float>(k));
    } else {
      for (const Records& chunk : records)
        values.insert(values.end(), chunk[c].begin(), chunk[c].end());
      std::ranges::sort(values);
      values.erase(std::unique(values.begin(), values.end()), values.end());
    }
    lists[c] = core::evenly_spaced(values, static_cast<std::size_t>(count) - 1);
    lists[c].push_back(never);
  }
  return lists;
}

std::vector<Curve> sweep(const policy::Policy& shape, std::span<const policy::Criterion> criteria,
                         std::span<const std::vector<float>> thresholds,
                         const policy::LogitsView& view, std::span<const double> costs,
                         int threads) {
  check_request(shape, criteria, view);
  const auto exits = static_cast<std::size_t>(view.exits);
  if (thresholds.size() != criteria.size())
    throw Error(fmt::format("got {} lists of thresholds, expected {}: one for each criterion",
                            thresholds.size(), criteria.size()));
  if (costs.size() != exits)
    throw Error(fmt::format("costs: got {}, expected {}: one for each exit", costs.size(), exits));
  for (const std::vector<float>& list : thresholds)
    for (std::size_t i = 0; i < list.size(); ++i)
      if (std::isnan(list[i]) || (i > 0 && !(list[i] > list[i - 1])))
        throw Error(fmt::format("thresholds must increase, but {} at position {} does not", list[i],
                                i + 1));

  const int chunks = num_chunks(view, threads);
  std::vector<std::vector<Counts>> counts(static_cast<std::size_t>(chunks));
  for (auto& chunk : counts)
    for (const std::vector<float>& list : thresholds) chunk.emplace_back(exits, list.size());
  for_each_chunk(view.images(), chunks, [&](int chunk, std::int64_t first, std::int64_t end) {
    policy::ExitState exit_state;
    ImageScores image_scores;
    auto& mine = counts[static_cast<std::size_t>(chunk)];
    for (std::int64_t image = first; image < end; ++image) {
      score_image(shape, criteria, view, image, exit_state, image_scores);
      const auto label = static_cast<int>(view.labels[static_cast<std::size_t>(image)]);
      for (std::size_t c = 0; c < criteria.size(); ++c)
        count_image(thresholds[c], std::span(image_scores.scores).subspan(c * exits, exits),
                    image_scores, label, mine[c]);
    }
  });

  const auto n = static_cast<double>(view.images());
  std::vector<Curve> curves;
  for (std::size_t c = 0; c < criteria.size(); ++c) {
    Curve curve{criteria[c], shape.ensemble, {}};
    const std::size_t size = thresholds[c].size();
    std::vector<std::int64_t> stopped(exits);
    std::int64_t correct = 0, harmed = 0, helped = 0;
    for (std::size_t m = 0; m < size; ++m) {
      for (const auto& chunk : counts) {
        for (std::size_t k = 0; k < exits; ++k) stopped[k] += chunk[c].stopped[k * (size + 1) + m];
        correct += chunk[c].correct[m];
        harmed += chunk[c].harmed[m];
        helped += chunk[c].helped[m];
      }
      SweepPoint point{thresholds[c][m],
                       static_cast<double>(correct) / n,
                       0,
                       static_cast<double>(harmed) / n,
                       static_cast<double>(helped) / n,
                       {}};
      for (std::size_t k = 0; k < exits; ++k) {
        point.shares.push_back(static_cast<double>(stopped[k]) / n);
        point.relative_cost += point.shares.back() * costs[k];
      }
      curve.points.push_back(std::move(point));
    }
    curves.push_back(std::move(curve));
  }
  return curves;
}

}  // namespace offramp::eval
