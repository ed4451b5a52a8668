#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/predictor.h"
#include "data/dataset.h"
#include "eval/logits_file.h"
#include "model/model_file.h"
#include "policy/policy.h"
#include "workflow/progress.h"

namespace offramp::workflow {

inline constexpr int kEvaluationBatch = 250;

/// Images of a data set as a model takes them, `batch` at a time.
struct EvaluationSet {
  const Dataset* data = nullptr;
  std::vector<std::int64_t> indices;
  const Preprocessing* preprocessing = nullptr;
  int batch = kEvaluationBatch;
};

/// Runs every exit on every image. `metadata` is left empty. @throws Cancelled
SavedLogits run_all_exits(Predictor& predictor, const EvaluationSet& set,
                          const Progress& progress = {});

/// Where each image stopped, and the class named there.
struct StoppedAnswers {
  std::vector<int> exit_index;        ///< 0-based
  std::vector<std::int64_t> answers;  ///< of the exit, or of the ensemble up to it
  std::vector<float> probabilities;   ///< of the answers
};

/// Runs a batch until the policy stops each image. @param images  [N, C, H, W] f32, normalised
StoppedAnswers stop_batch(Predictor& predictor, std::span<const float> images,
                          const Policy& policy);

/// Runs every image until the policy stops it. @throws Cancelled
StoppedAnswers run_until(Predictor& predictor, const EvaluationSet& set, const Policy& policy,
                         const Progress& progress = {});

/// What run_until would give, read off logits of all exits.
StoppedAnswers replay(const LogitsView& view, const Policy& policy);

/// [N] What exit K names under a policy: with an ensemble, what that of all exits names.
std::vector<std::int64_t> last_answers(const LogitsView& view, const Policy& policy);

/// Name of the place an exit reads: the last unit of its segment, "layer2.1".
std::string exit_place(const Graph& graph, int exit_index);

}  // namespace offramp::workflow
