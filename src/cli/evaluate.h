#pragma once

#include "workflow/evaluate.h"

namespace offramp::cli {

using workflow::EvaluationSet;
using workflow::exit_place;
using workflow::kEvaluationBatch;
using workflow::last_answers;
using workflow::replay;
using workflow::stop_batch;
using workflow::StoppedAnswers;

/// As workflow's functions of these names, with a counter on a terminal.
SavedLogits run_all_exits(Predictor& predictor, const EvaluationSet& set);
StoppedAnswers run_until(Predictor& predictor, const EvaluationSet& set, const Policy& policy);

}  // namespace offramp::cli
