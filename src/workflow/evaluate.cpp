#include "workflow/evaluate.h"

#include <algorithm>

#include "policy/calibration.h"
#include "workflow/selected_images.h"

namespace offramp::workflow {
namespace {

/// Calls `work(first, images)` for each batch: `images` are [n, C, H, W] f32, and `first` is the
/// position of the first of them in the set.
template <typename Work>
void for_each_batch(const EvaluationSet& set, const Progress& progress, const Work& work) {
  const std::size_t total = set.indices.size();
  std::vector<float> images;
  for (std::size_t first = 0; first < total; first += static_cast<std::size_t>(set.batch)) {
    const std::size_t count = std::min(static_cast<std::size_t>(set.batch), total - first);
    normalise_images(*set.data, std::span(set.indices).subspan(first, count), *set.preprocessing,
                     images);
    work(first, std::span<const float>(images));
    progress.step(static_cast<std::int64_t>(first + count), static_cast<std::int64_t>(total),
                  "images");
  }
}

}  // namespace

eval::SavedLogits run_all_exits(core::Predictor& predictor, const EvaluationSet& set,
                                const Progress& progress) {
  eval::SavedLogits result;
  result.exits = predictor.num_exits();
  result.classes = predictor.num_classes();
  const std::size_t total = set.indices.size();
  const auto classes = static_cast<std::size_t>(result.classes);
  result.logits.resize(static_cast<std::size_t>(result.exits) * total * classes);
  for (const std::int64_t i : set.indices) {
    result.labels.push_back(set.data->labels[static_cast<std::size_t>(i)]);
    result.hashes.push_back(set.data->hashes[static_cast<std::size_t>(i)]);
  }
  for_each_batch(set, progress, [&](std::size_t first, std::span<const float> images) {
    const std::vector<float> logits = predictor.predict_all(images);
    const std::size_t rows = logits.size() / static_cast<std::size_t>(result.exits);
    for (std::size_t k = 0; k < static_cast<std::size_t>(result.exits); ++k)
      std::copy_n(
          logits.begin() + static_cast<std::ptrdiff_t>(k * rows), rows,
          result.logits.begin() + static_cast<std::ptrdiff_t>((k * total + first) * classes));
  });
  return result;
}

StoppedAnswers run_batch_with_policy(core::Predictor& predictor, std::span<const float> images,
                                     const policy::Policy& policy) {
  const std::size_t count = images.size() / static_cast<std::size_t>(predictor.image_size());
  StoppedAnswers result;
  result.exit_index.resize(count);
  result.answers.resize(count);
  result.probabilities.resize(count);
  std::vector<policy::ExitState> exit_states(count);
  predictor.run(images, [&](std::int64_t image, const core::ExitOutput& output) {
    const auto i = static_cast<std::size_t>(image);
    policy::ExitState& exit_state = exit_states[i];
    if (!policy::should_exit(policy, output.exit_index, output.logits, exit_state)) return false;
    result.exit_index[i] = output.exit_index;
    result.answers[i] = exit_state.answer;
    result.probabilities[i] = exit_state.p[static_cast<std::size_t>(exit_state.answer)];
    return true;
  });
  return result;
}

StoppedAnswers run_with_policy(core::Predictor& predictor, const EvaluationSet& set,
                               const policy::Policy& policy, const Progress& progress) {
  StoppedAnswers result;
  for_each_batch(set, progress, [&](std::size_t, std::span<const float> images) {
    const StoppedAnswers batch = run_batch_with_policy(predictor, images, policy);
    const auto append = [](auto& all, const auto& more) {
      all.insert(all.end(), more.begin(), more.end());
    };
    append(result.exit_index, batch.exit_index);
    append(result.answers, batch.answers);
    append(result.probabilities, batch.probabilities);
  });
  return result;
}

StoppedAnswers replay(const policy::LogitsView& view, const policy::Policy& policy) {
  StoppedAnswers result;
  policy::ExitState exit_state;
  for (std::int64_t i = 0; i < view.images(); ++i) {
    int k = 0;
    while (!policy::should_exit(policy, k, view.at(k, i), exit_state)) ++k;
    result.exit_index.push_back(k);
    result.answers.push_back(exit_state.answer);
    result.probabilities.push_back(exit_state.p[static_cast<std::size_t>(exit_state.answer)]);
  }
  return result;
}

std::vector<std::int64_t> last_exit_answers(const policy::LogitsView& view) {
  return policy::reference_answers(policy::never_stop(view.exits), view,
                                   policy::HarmReference::last_exit);
}

std::string unit_before_exit(const graph::Graph& graph, int exit_index) {
  const int segment = graph::exit_segments(graph)[static_cast<std::size_t>(exit_index)];
  const std::string& name = graph.segments[static_cast<std::size_t>(segment)].name;
  // A segment of several units is named "layer1.0 to layer2.1", after its first and last unit.
  const std::size_t to = name.rfind(" to ");
  return to == std::string::npos ? name : name.substr(to + 4);
}

}  // namespace offramp::workflow
