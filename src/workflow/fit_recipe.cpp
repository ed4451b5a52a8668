#include "workflow/fit_recipe.h"

#include <fmt/format.h>

#include "model/backbone_options.h"

namespace offramp::workflow {
namespace {

void fit_loss_weights(recipe::Recipe& recipe, const std::set<std::string>& overridden,
                      std::vector<std::string>& changes) {
  std::vector<double>& weights = recipe.train.loss_weights;
  if (recipe::exit_places(recipe) != recipe::ExitPlaces::listed) return;
  const std::size_t exits = recipe.network.exits.size() + 1;
  if (!overridden.contains("network.exits") || overridden.contains("train.loss_weights") ||
      weights.empty() || weights.size() == exits)
    return;
  changes.push_back(
      fmt::format("train.loss_weights: the recipe has {} for another number of exits; each of the "
                  "{} exits now has the weight 1/{} (--set loss_weights=… chooses others)",
                  weights.size(), exits, exits));
  weights.clear();
}

void fit_backbone(recipe::Recipe& recipe, const std::set<std::string>& overridden,
                  std::vector<std::string>& changes) {
  if (recipe.train.from.empty() || recipe::exit_places(recipe) != recipe::ExitPlaces::listed)
    return;
  graph::BackboneOptions& options = recipe.network.options;
  const graph::BackboneOptions found = model::options_of_weights(recipe.train.from, recipe.network);
  const auto add_change = [&](const char* key, const auto& value) {
    changes.push_back(fmt::format("{}: set to {}, as in {}", key, value, recipe.train.from));
  };
  if (found.width != options.width && !overridden.contains("network.width")) {
    options.width = found.width;
    add_change("network.width", found.width);
  }
  if (found.stem != options.stem && !overridden.contains("network.stem")) {
    options.stem = found.stem;
    add_change("network.stem", found.stem == graph::Stem::cifar ? "cifar" : "imagenet");
  }
}

}  // namespace

std::vector<std::string> fit_recipe(recipe::Recipe& recipe,
                                    const std::set<std::string>& overridden) {
  std::vector<std::string> changes;
  fit_loss_weights(recipe, overridden, changes);
  fit_backbone(recipe, overridden, changes);
  return changes;
}

}  // namespace offramp::workflow
