#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/random.h"
#include "graph/network_spec.h"
#include "model/model_file.h"
#include "policy/policy.h"
#include "tests/support/graphs.h"
#include "tests/support/random_weights.h"

namespace offramp::test {

/// A model file of a graph with random weights and the class names "class 0", "class 1", ….
inline ModelFile example_model(const Graph& graph, std::uint64_t seed = 1) {
  ModelFile model;
  model.graph = graph;
  model.weights = random_weights(graph, seed);
  for (std::int64_t i = 0; i < graph.classes; ++i)
    model.classes.push_back("class " + std::to_string(i));
  model.preprocessing.height = static_cast<int>(graph.input[1]);
  model.preprocessing.width = static_cast<int>(graph.input[2]);
  model.loss_weights.assign(exit_segments(graph).size(), 1.0);
  return model;
}

/// A random policy that depends on the seed alone: any criterion, ensemble and thresholds,
/// including thresholds by which all images leave at the first exit or none leaves early.
inline Policy random_policy(std::uint64_t seed, int exits) {
  KeyedRandom random(seed, 77);
  Policy policy = never_stop(exits);
  policy.criterion = static_cast<Criterion>(random.below(4));
  policy.ensemble = static_cast<Ensemble>(random.below(4));
  for (float& temperature : policy.temperatures) temperature = random.uniform(0.3f, 3);
  if (policy.ensemble == Ensemble::weighted)
    for (int k = 0; k < exits; ++k) policy.ensemble_weights.push_back(random.uniform(0.1f, 1));
  const bool all_first = random.below(8) == 0, never = random.below(8) == 0;
  for (auto& threshold : policy.thresholds) {
    const float any = policy.criterion == Criterion::patience
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
