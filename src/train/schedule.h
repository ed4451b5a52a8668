#pragma once

#include <cstdint>

#include "recipe/recipe.h"

namespace offramp::train {

/// Returns the learning rate at `step` (0-based) of a run of `epochs` × `steps_per_epoch` steps. A
/// mixed run has two phases, and each goes through the whole schedule.
double learning_rate(const recipe::TrainRecipe& recipe, std::int64_t step,
                     std::int64_t steps_per_epoch);

/// True in the first phase of a mixed run, where only the last exit is trained.
bool is_backbone_phase(const recipe::TrainRecipe& recipe, std::int64_t step,
                       std::int64_t steps_per_epoch);

struct ImageSize {
  int height = 0, width = 0;  ///< pixels
  bool operator==(const ImageSize&) const = default;
};

/// Returns the image size used in epoch `epoch` (0-based). It grows linearly from
/// `first_scale` × `full` to `full` over the first `full_scale_at` × `epochs` epochs, rounded to
/// multiples of 4 pixels.
ImageSize training_image_size(const recipe::TrainRecipe& recipe, ImageSize full,
                              std::int64_t epoch);

}  // namespace offramp::train
