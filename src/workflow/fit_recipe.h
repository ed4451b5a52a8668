#pragma once

#include <set>
#include <string>
#include <vector>

#include "recipe/recipe.h"

namespace offramp::workflow {

/// Changes settings of a recipe that no longer fit others after keys were overridden:
///
/// - `train.loss_weights`, if `network.exits` was overridden and the number of weights differs from
///   that of the exits. Each of the K exits then has the weight 1/K.
/// - `network.width` and `network.stem`, if `train.from` names weights of another width or stem.
///
/// Keys in `overridden` keep their values.
/// @param overridden  full names of the keys that were overridden, as in "network.width"
/// @return one line for each change, for people
/// @throws Error "<path>: …" if the file of `train.from` cannot be read
std::vector<std::string> fit_recipe(recipe::Recipe& recipe,
                                    const std::set<std::string>& overridden);

}  // namespace offramp::workflow
