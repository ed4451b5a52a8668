#pragma once

#include <cstdint>
#include <vector>

#include "core/predictor.h"
#include "data/dataset.h"
#include "eval/logits_file.h"
#include "model/model_file.h"
#include "policy/policy.h"

namespace offramp::cli {

inline constexpr int kEvaluationBatch = 250;

/// Images of a data set as a model takes them, `batch` at a time.
struct EvaluationSet {
  const Dataset* data = nullptr;
  std::vector<std::int64_t> indices;
  const Preprocessing* preprocessing = nullptr;
  int batch = kEvaluationBatch;
};

/// Runs every exit on every image. `metadata` is left empty.
SavedLogits run_all_exits(Predictor& predictor, const EvaluationSet& set);

/// Where a confidence rule stops: at the first exit whose score reaches the threshold.
struct ThresholdRule {
  Criterion criterion = Criterion::confidence;
  double threshold = 1;

  bool operator()(std::span<const float> logits) const;
};

/// Where each image stopped, and the class named there.
struct StoppedAnswers {
  std::vector<int> exit_index;
  std::vector<std::int64_t> answers;
};

/// Runs every image until `rule` stops it.
StoppedAnswers run_until(Predictor& predictor, const EvaluationSet& set, const ThresholdRule& rule);

/// What run_until would say, read off logits of all exits.
StoppedAnswers replay(const LogitsView& view, const ThresholdRule& rule);

/// Name of the place an exit reads: the last unit of its segment, "layer2.1".
std::string exit_place(const Graph& graph, int exit_index);

}  // namespace offramp::cli
