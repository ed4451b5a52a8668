#pragma once

#include <cstdint>
#include <string>

#include "graph/graph.h"
#include "model/model_file.h"

namespace offramp::workflow {

/// True for the name of a recipe.
bool is_recipe(const std::string& path);

/// The network of a recipe, which does not know its data: images of 32x32 where it names no size.
/// @throws UsageError at the recipe's line
Graph graph_of_recipe(const std::string& path, std::int64_t classes);

/// A model, or the network of a recipe with random weights (always the same ones) and classes named
/// "class 1", "class 2", ….
ModelFile model_or_recipe(const std::string& path, std::int64_t classes);

}  // namespace offramp::workflow
