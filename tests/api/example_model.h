#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/random.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "policy/policy.h"
#include "tests/support/graphs.h"

namespace offramp::test {

/// A model file of a graph with random weights and the class names "class 0", "class 1", ….
inline model::ModelFile example_model(const graph::Graph& graph, std::uint64_t seed = 1) {
  model::ModelFile model;
  model.graph = graph;
  model.weights = graph::random_weights(graph, seed);
  for (std::int64_t i = 0; i < graph.classes; ++i)
    model.classes.push_back("class " + std::to_string(i));
  model.preprocessing.height = static_cast<int>(graph.input[1]);
  model.preprocessing.width = static_cast<int>(graph.input[2]);
  model.loss_weights.assign(graph::exit_segments(graph).size(), 1.0);
  return model;
}

/// A random policy that depends on the seed alone: any criterion, ensemble and thresholds,
/// including thresholds by which all images leave at the first exit or none leaves early.
inline policy::Policy random_policy(std::uint64_t seed, int exits) {
  core::KeyedRandom random(seed, 77);
  policy::Policy policy = policy::never_stop(exits);
  policy.criterion = static_cast<policy::Criterion>(random.below(4));
  policy.ensemble = static_cast<policy::Ensemble>(random.below(4));
  for (float& temperature : policy.temperatures) temperature = random.uniform(0.3f, 3);
  if (policy.ensemble == policy::Ensemble::weighted)
    for (int k = 0; k < exits; ++k) policy.ensemble_weights.push_back(random.uniform(0.1f, 1));
  const bool all_first = random.below(8) == 0, never = random.below(8) == 0;
  for (auto& threshold : policy.thresholds) {
    const float any = policy.criterion == policy::Criterion::patience
                          ? static_cast<float>(1 + random.below(3))
                          : random.uniform();
    if (all_first)
      threshold = 0;
    else if (!never && random.below(5) > 0)
      threshold = any;
  }
  return policy;
}

}  // namespace offramp::test
