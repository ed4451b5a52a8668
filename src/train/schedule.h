#pragma once

#include <cstdint>

#include "recipe/recipe.h"

namespace offramp::train {

/// Learning rate at `step` (0-based) of a run of `epochs` × `steps_per_epoch`. A mixed run has two
/// phases, each with the whole schedule over its own epochs.
double learning_rate(const TrainRecipe& recipe, std::int64_t step, std::int64_t steps_per_epoch);

/// True while only the backbone with its own classifier learns.
bool backbone_phase(const TrainRecipe& recipe, std::int64_t step, std::int64_t steps_per_epoch);

struct ImageSize {
  int height = 0, width = 0;  ///< pixels
  bool operator==(const ImageSize&) const = default;
};

/// Size at which the images of epoch `epoch` (0-based) are trained on: from `first_scale` of `full`
/// linearly up to all of it over the first `full_scale_at` of the epochs, in whole fours of pixels.
ImageSize training_size(const TrainRecipe& recipe, ImageSize full, std::int64_t epoch);

}  // namespace offramp::train
