#include "workflow/model_or_recipe.h"

#include <fmt/format.h>

#include "core/error.h"
#include "graph/cost.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "recipe/recipe.h"

namespace offramp::workflow {

bool is_recipe(const std::string& path) { return path.ends_with(".toml"); }

graph::Graph graph_of_recipe(const std::string& path, std::int64_t classes) {
  const recipe::Recipe recipe = recipe::read_recipe(path);
  if (recipe::exit_places(recipe) != recipe::ExitPlaces::listed)
    throw UsageError(fmt::format(
        "{}: network.exits: {} takes the network from a model file, so the recipe alone describes "
        "none; give that model, or the one that the run wrote",
        path, core::quote(recipe.network.exits[0])));
  graph::NetworkSpec spec = recipe.network;
  spec.options.classes = classes;
  if (recipe.data.height > 0) spec.options.input = {3, recipe.data.height, recipe.data.width};
  return graph::build_network(spec);
}

model::ModelFile model_or_recipe(const std::string& path, std::int64_t classes) {
  if (!is_recipe(path)) return model::load_model(path);
  model::ModelFile model;
  model.graph = graph_of_recipe(path, classes);
  model.weights = graph::random_weights(model.graph, 1);
  for (std::int64_t i = 1; i <= classes; ++i) model.classes.push_back(fmt::format("class {}", i));
  model.preprocessing.height = static_cast<int>(model.graph.input[1]);
  model.preprocessing.width = static_cast<int>(model.graph.input[2]);
  const std::size_t exits = graph::exit_segments(model.graph).size();
  model.loss_weights.assign(exits, 1.0 / static_cast<double>(exits));
  return model;
}

}  // namespace offramp::workflow
