#pragma once

#include <string>

#include "cli/command.h"
#include "recipe/recipe.h"

namespace offramp::train_cli {

/// Declares the flags of `offramp exits`.
void declare_exits(CLI::App& app, cli::Action& action);

/// Executes a recipe with exits = "auto": finds the exits of train.from and, unless train.mode is
/// frozen, trains the network with them by the recipe. @return the exit status
int run_with_automatic_exits(const recipe::Recipe& recipe, const std::string& out);

}  // namespace offramp::train_cli
