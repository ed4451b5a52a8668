#pragma once

#include <cstdint>
#include <string>

#include "graph/graph.h"
#include "model/model_file.h"

namespace offramp::workflow {

/// True if the path ends in ".toml".
bool is_recipe(const std::string& path);

/// Builds the network of a recipe. The data are not read, so `classes` gives the number of classes;
/// the input is 32x32 pixels if the recipe names no size.
/// @throws UsageError "<path>:<line>: …" if the recipe has an error
graph::Graph graph_of_recipe(const std::string& path, std::int64_t classes);

/// Loads a model, or makes one from a recipe's network, with random weights (the same in every run)
/// and classes named "class 1", "class 2", ….
model::ModelFile model_or_recipe(const std::string& path, std::int64_t classes);

}  // namespace offramp::workflow
