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

inline constexpr int kEvaluationBatch = 250;  // images that are normalised and run together

/// The images of a data set that a model is evaluated on. The pointers must stay valid.
struct EvaluationSet {
  const data::Dataset* data = nullptr;
  std::vector<std::int64_t> indices;                   ///< indices of the images in `data`
  const core::Preprocessing* preprocessing = nullptr;  ///< preprocessing of the model
  int batch = kEvaluationBatch;                        ///< images per call of the model
};

/// Computes the logits of every exit for every image. `metadata` of the result is empty.
/// @throws Cancelled
eval::SavedLogits run_all_exits(core::Predictor& predictor, const EvaluationSet& set,
                                const Progress& progress = {});

/// Where each image stopped, and the class that was predicted there.
struct StoppedAnswers {
  std::vector<int> exit_index;        ///< 0-based
  std::vector<std::int64_t> answers;  ///< class predicted by the exit, or the ensemble up to it
  std::vector<float> probabilities;   ///< probability of that class
};

/// Runs a batch until the policy stops each image. @param images  [N, C, H, W] f32, normalised
StoppedAnswers run_batch_with_policy(core::Predictor& predictor, std::span<const float> images,
                                     const policy::Policy& policy);

/// Runs every image until the policy stops it. @throws Cancelled
StoppedAnswers run_with_policy(core::Predictor& predictor, const EvaluationSet& set,
                               const policy::Policy& policy, const Progress& progress = {});

/// Computes the result of run_with_policy from saved logits of all exits.
StoppedAnswers replay(const policy::LogitsView& view, const policy::Policy& policy);

/// The answers [N] of the last exit alone.
std::vector<std::int64_t> last_exit_answers(const policy::LogitsView& view);

/// Name of the unit that an exit comes after, the last one of its segment, for example "layer2.1".
std::string unit_before_exit(const graph::Graph& graph, int exit_index);

}  // namespace offramp::workflow
