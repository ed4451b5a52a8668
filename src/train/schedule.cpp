#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace offramp::train {

bool is_backbone_phase(const recipe::TrainRecipe& recipe, std::int64_t step,
                       std::int64_t steps_per_epoch) {
  return recipe.mode == recipe::Mode::mixed && step < recipe.backbone_epochs * steps_per_epoch;
}

double learning_rate(const recipe::TrainRecipe& recipe, std::int64_t step,
                     std::int64_t steps_per_epoch) {
  std::int64_t first = 0, length = recipe.epochs * steps_per_epoch;
  if (recipe.mode == recipe::Mode::mixed) {
    const std::int64_t boundary = recipe.backbone_epochs * steps_per_epoch;
    if (step < boundary) {
      length = boundary;
    } else {
      first = boundary;
      length -= boundary;
    }
  }
  const auto done = static_cast<double>(step - first);
  switch (recipe.schedule) {
    case recipe::Schedule::constant:
      return recipe.lr;
    case recipe::Schedule::step:
      return recipe.lr *
             std::pow(recipe.step_factor,
                      std::floor(done / static_cast<double>(recipe.step_every * steps_per_epoch)));
    case recipe::Schedule::one_cycle:
    case recipe::Schedule::cosine:
      break;
  }
  const double rising = recipe.warmup * static_cast<double>(length);
  if (done < rising) return recipe.lr * (done + 1) / (rising + 1);
  const double progress = (done - rising) / std::max(1.0, static_cast<double>(length) - rising);
  return recipe.lr * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

ImageSize training_image_size(const recipe::TrainRecipe& recipe, ImageSize full,
                              std::int64_t epoch) {
  const double growing = recipe.full_scale_at * recipe.epochs;
  if (recipe.first_scale >= 1 || static_cast<double>(epoch) >= growing) return full;
  const double scale =
      recipe.first_scale + (1 - recipe.first_scale) * static_cast<double>(epoch) / growing;
  const auto scaled = [scale](int side) {
    return std::min(side, 4 * std::max(1, static_cast<int>(std::lround(scale * side / 4))));
  };
  return {scaled(full.height), scaled(full.width)};
}

}  // namespace offramp::train
