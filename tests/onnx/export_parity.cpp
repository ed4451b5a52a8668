// The C++ program that export_parity.py calls: export_parity FOLDER writes models of small networks
// with every criterion and ensemble as <case>.onnx in every form, and <case>.safetensors with
// images [N, C, H, W] in [0, 1], the logits of all exits [K, N, classes] by the plain-loop
// reference, and the class, the exit and the distance of the nearest score to its threshold for
// each image.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <random>
#include <string>

#include "core/error.h"
#include "core/safetensors.h"
#include "graph/random_weights.h"
#include "onnx/write_network.h"
#include "policy/criteria.h"
#include "policy/policy.h"
#include "tests/support/graphs.h"
#include "tests/support/reference.h"

namespace {

using namespace offramp;
namespace fs = std::filesystem;

constexpr std::int64_t kImages = 12;

model::ModelFile model_of(const graph::Graph& graph, policy::Policy policy) {
  model::ModelFile model;
  model.graph = graph;
  model.weights = graph::random_weights(graph, 3);
  for (std::int64_t i = 0; i < graph.classes; ++i)
    model.classes.push_back("class " + std::to_string(i));
  model.preprocessing.height = static_cast<int>(graph.input[1]);
  model.preprocessing.width = static_cast<int>(graph.input[2]);
  model.policy = policy::ChosenPolicy{.policy = std::move(policy)};
  return model;
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Chooses each threshold between the two middle scores, so that half of the images stop there;
/// with patience, 2 exits must agree.
void choose_thresholds(policy::Policy& policy, const std::vector<float>& logits, std::int64_t n,
                       std::int64_t classes) {
  const int exits = policy.num_exits();
  std::vector<policy::ExitState> states(static_cast<std::size_t>(n));
  for (int k = 0; k + 1 < exits; ++k) {
    std::vector<float> scores;
    for (std::int64_t i = 0; i < n; ++i) {
      auto& state = states[static_cast<std::size_t>(i)];
      policy::update_exit_state(
          policy, k,
          std::span(logits).subspan(static_cast<std::size_t>((k * n + i) * classes),
                                    static_cast<std::size_t>(classes)),
          state);
      scores.push_back(policy::score(policy.criterion, state));
    }
    std::ranges::sort(scores);
    const float middle = (scores[scores.size() / 2 - 1] + scores[scores.size() / 2]) / 2;
    policy.thresholds[static_cast<std::size_t>(k)] =
        policy.criterion == policy::Criterion::patience ? 2.0f : middle;
  }
}

void run_case(const fs::path& folder, const std::string& name, const graph::Graph& graph,
              policy::Criterion criterion, policy::Ensemble ensemble) {
  policy::Policy policy = policy::never_stop(static_cast<int>(graph::exit_segments(graph).size()));
  policy.criterion = criterion;
  policy.ensemble = ensemble;
  for (std::size_t k = 0; k < policy.temperatures.size(); ++k)
    policy.temperatures[k] = 0.7f + 0.4f * static_cast<float>(k);
  if (ensemble == policy::Ensemble::weighted)
    for (std::size_t k = 0; k < policy.temperatures.size(); ++k)
      policy.ensemble_weights.push_back(1.0f + static_cast<float>(k));
  model::ModelFile model = model_of(graph, policy);

  const std::int64_t size = core::element_count(graph.input),
                     area = graph.input[1] * graph.input[2];
  std::mt19937 random(7);
  std::uniform_real_distribution<float> pixel(0, 1);
  std::vector<float> pixels(static_cast<std::size_t>(kImages * size)), images(pixels.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = pixel(random);
    const auto channel = static_cast<std::size_t>(static_cast<std::int64_t>(i) % size / area);
    images[i] = (pixels[i] - model.preprocessing.mean[channel]) / model.preprocessing.std[channel];
  }
  const std::vector<float> logits = ReferencePredictor(graph, model.weights).predict_all(images);
  policy::Policy& rule = model.policy->policy;
  choose_thresholds(rule, logits, kImages, graph.classes);

  std::vector<std::int64_t> classes, exits;
  std::vector<float> nearest;
  for (std::int64_t i = 0; i < kImages; ++i) {
    policy::ExitState state;
    float distance = 1;
    for (int k = 0; k < rule.num_exits(); ++k) {
      const auto at = static_cast<std::size_t>((k * kImages + i) * graph.classes);
      const bool stops = policy::should_exit(
          rule, k, std::span(logits).subspan(at, static_cast<std::size_t>(graph.classes)), state);
      if (k + 1 < rule.num_exits())
        distance = std::min(distance,
                            std::abs(state.score - *rule.thresholds[static_cast<std::size_t>(k)]));
      if (!stops) continue;
      classes.push_back(state.answer);
      exits.push_back(k + 1);
      break;
    }
    nearest.push_back(criterion == policy::Criterion::patience ? 1 : distance);
  }
  for (const onnx::Form form : {onnx::Form::conditional, onnx::Form::all_exits, onnx::Form::plain})
    write(folder / fmt::format("{}.{}.onnx", name, onnx::to_string(form)),
          onnx::network_as_onnx(model, form));
  core::write_safetensors(
      folder / (name + ".safetensors"), {},
      {{"images", core::HostTensor::of({kImages, graph.input[0], graph.input[1], graph.input[2]},
                                       std::span<const float>(pixels))},
       {"logits", core::HostTensor::of({rule.num_exits(), kImages, graph.classes},
                                       std::span<const float>(logits))},
       {"class", core::HostTensor::of({kImages}, std::span<const std::int64_t>(classes))},
       {"exit", core::HostTensor::of({kImages}, std::span<const std::int64_t>(exits))},
       {"nearest", core::HostTensor::of({kImages}, std::span<const float>(nearest))}});
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw UsageError("usage: export_parity FOLDER");
    for (const graph::Graph& graph : example_graphs())
      run_case(argv[1], graph.name, graph, policy::Criterion::confidence, policy::Ensemble::off);
    for (const policy::CriterionInfo& row : policy::criteria())
      for (const policy::Ensemble ensemble :
           {policy::Ensemble::off, policy::Ensemble::mean, policy::Ensemble::geometric,
            policy::Ensemble::weighted})
        run_case(
            argv[1],
            fmt::format("{}_{}", policy::to_string(row.criterion), policy::to_string(ensemble)),
            two_scale(), row.criterion, ensemble);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
