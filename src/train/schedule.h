#pragma once

#include <cstdint>

#include "recipe/recipe.h"

namespace offramp {

/// Learning rate at `step` (0-based) of a run of `epochs` × `steps_per_epoch`. A mixed run has two
/// phases, each with the whole schedule over its own epochs.
double learning_rate(const TrainRecipe& recipe, std::int64_t step, std::int64_t steps_per_epoch);

/// True while only the backbone with its own classifier learns.
bool backbone_phase(const TrainRecipe& recipe, std::int64_t step, std::int64_t steps_per_epoch);

}  // namespace offramp
