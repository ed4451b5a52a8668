#include "cli/evaluate.h"

#include "cli/terminal.h"

namespace offramp::cli {

SavedLogits run_all_exits(Predictor& predictor, const EvaluationSet& set) {
  Counter counter(std::ssize(set.indices), "images");
  return workflow::run_all_exits(predictor, set, [&](std::int64_t done) { counter.show(done); });
}

StoppedAnswers run_until(Predictor& predictor, const EvaluationSet& set, const Policy& policy) {
  Counter counter(std::ssize(set.indices), "images");
  return workflow::run_until(predictor, set, policy,
                             [&](std::int64_t done) { counter.show(done); });
}

}  // namespace offramp::cli
