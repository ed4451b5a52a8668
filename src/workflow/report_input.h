#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/model_file.h"
#include "report/report.h"
#include "workflow/run_folder.h"

namespace offramp::workflow {

/// The epochs of a run, as the report shows them.
Training training_of(const workflow::FoundRun& run);

/// What the model remembers of its training, and what runs it now: name and value, for people.
std::vector<std::pair<std::string, std::string>> facts_of(const ModelFile& model);

}  // namespace offramp::workflow
