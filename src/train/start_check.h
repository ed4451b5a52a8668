#pragma once

#include <string>

#include "data/dataset.h"
#include "recipe/recipe.h"
#include "train/process_group.h"

namespace offramp::train {

/// Describes what must be equal on all ranks, one fact per line: version, recipe, data set. How a
/// machine is used (threads, paths) may differ.
std::string describe_start(const recipe::Recipe& recipe, const data::Dataset& data);

/// Compares the descriptions of all ranks.
/// @throws Error on all ranks that names the first line that differs and the rank
void check_same_start(ProcessGroup& group, const std::string& description);

}  // namespace offramp::train
