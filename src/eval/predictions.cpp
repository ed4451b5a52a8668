#include "eval/predictions.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <map>
#include <utility>

#include "policy/policy.h"

namespace offramp::eval {
namespace {

Prediction predict(std::span<const float> logits, double temperature) {
  Prediction prediction;
  prediction.answer = policy::argmax(logits);
  const double largest = logits[static_cast<std::size_t>(prediction.answer)];
  for (std::size_t c = 0; c < logits.size(); ++c)
    if (static_cast<int>(c) != prediction.answer)
      prediction.odds_against += std::exp((logits[c] - largest) / temperature);
  prediction.confidence = 1 / (1 + prediction.odds_against);
  return prediction;
}

/// Returns the images with the lowest ranks, the lowest first.
std::vector<std::int64_t> lowest_ranked(std::vector<std::pair<double, std::int64_t>> ranked,
                                        int most) {
  const auto kept = std::min(ranked.size(), static_cast<std::size_t>(most));
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(kept),
                    ranked.end());
  std::vector<std::int64_t> images;
  for (std::size_t i = 0; i < kept; ++i) images.push_back(ranked[i].second);
  return images;
}

}  // namespace

Predictions::Predictions(const policy::LogitsView& view, std::span<const float> temperatures)
    : view_(view) {
  predictions_.reserve(static_cast<std::size_t>(view.exits * view.images()));
  for (int k = 0; k < view.exits; ++k)
    for (std::int64_t i = 0; i < view.images(); ++i)
      predictions_.push_back(predict(view.at(k, i), temperatures[static_cast<std::size_t>(k)]));
}

Reliability reliability(const Predictions& predictions, int exit_index) {
  Reliability result;
  for (std::int64_t i = 0; i < predictions.images(); ++i)
    result.add(predictions.at(exit_index, i).confidence, predictions.is_correct(exit_index, i));
  return result;
}

Flow flow(const Predictions& predictions, int from_exit, int to_exit) {
  Flow flow;
  for (std::int64_t i = 0; i < predictions.images(); ++i) {
    const bool before = predictions.is_correct(from_exit, i),
               after = predictions.is_correct(to_exit, i);
    ++(before ? (after ? flow.stays_correct : flow.becomes_wrong)
              : (after ? flow.becomes_correct : flow.stays_wrong));
  }
  return flow;
}

double ClassExits::mean_exit() const {
  if (images == 0) return -1;
  double sum = 0;
  for (std::size_t k = 0; k < stopped.size(); ++k)
    sum += static_cast<double>(k) * static_cast<double>(stopped[k]);
  return sum / static_cast<double>(images);
}

std::vector<ClassExits> exits_by_class(const policy::LogitsView& view,
                                       std::span<const int> exit_index,
                                       std::span<const std::int64_t> answers) {
  const auto exits = static_cast<std::size_t>(view.exits);
  std::vector<ClassExits> classes(static_cast<std::size_t>(view.classes));
  for (std::size_t c = 0; c < classes.size(); ++c)
    classes[c] = {static_cast<int>(c), 0, std::vector<std::int64_t>(exits),
                  std::vector<std::int64_t>(exits)};
  for (std::size_t i = 0; i < view.labels.size(); ++i) {
    ClassExits& of_class = classes[static_cast<std::size_t>(view.labels[i])];
    const auto k = static_cast<std::size_t>(exit_index[i]);
    ++of_class.images;
    ++of_class.stopped[k];
    of_class.correct[k] += answers[i] == view.labels[i];
  }
  return classes;
}

std::vector<std::int64_t> most_confident(const Predictions& predictions, int exit_index,
                                         bool correct, int most, int most_of_class) {
  std::vector<std::pair<double, std::int64_t>> ranked;
  for (std::int64_t i = 0; i < predictions.images(); ++i)
    if (predictions.is_correct(exit_index, i) == correct)
      ranked.emplace_back(predictions.at(exit_index, i).odds_against, i);
  if (most_of_class == 0) return lowest_ranked(std::move(ranked), most);
  std::map<std::int64_t, int> of_class;
  std::vector<std::int64_t> images = lowest_ranked(std::move(ranked), INT_MAX);
  std::erase_if(images,
                [&](std::int64_t i) { return ++of_class[predictions.label(i)] > most_of_class; });
  images.resize(std::min<std::size_t>(images.size(), static_cast<std::size_t>(most)));
  return images;
}

std::vector<std::int64_t> destructive_images(const Predictions& predictions, int most) {
  const int last = predictions.exits() - 1;
  std::vector<std::pair<double, std::int64_t>> ranked;
  for (std::int64_t i = 0; i < predictions.images(); ++i) {
    if (predictions.is_correct(last, i)) continue;
    double odds_against = HUGE_VAL;
    for (int k = 0; k < last; ++k)
      if (predictions.is_correct(k, i))
        odds_against = std::min(odds_against, predictions.at(k, i).odds_against);
    if (odds_against < HUGE_VAL) ranked.emplace_back(odds_against, i);
  }
  return lowest_ranked(std::move(ranked), most);
}

}  // namespace offramp::eval
