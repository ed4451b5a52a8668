#include "workflow/fit_recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "core/safetensors.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"

namespace offramp::workflow {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

recipe::Recipe recipe_with_exits(const std::vector<std::string>& exits,
                                 const std::vector<double>& loss_weights) {
  recipe::Recipe recipe;
  recipe.network.exits = exits;
  recipe.train.loss_weights = loss_weights;
  return recipe;
}

TEST(FitRecipe, SpreadsLossWeightsAnewWhenOnlyTheNumberOfExitsIsChanged) {
  recipe::Recipe recipe = recipe_with_exits({"3"}, {0.2, 0.3, 0.5});
  EXPECT_THAT(fit_recipe(recipe, {"network.exits"}),
              ElementsAre(HasSubstr("each of the 2 exits now has the weight 1/2")));
  EXPECT_THAT(recipe.train.loss_weights, IsEmpty());
  check(recipe);
}

TEST(FitRecipe, KeepsLossWeightsThatFitOrWereGiven) {
  const std::vector<double> weights = {0.2, 0.3, 0.5};
  recipe::Recipe moved = recipe_with_exits({"1", "4"}, weights);
  EXPECT_THAT(fit_recipe(moved, {"network.exits"}), IsEmpty());
  EXPECT_EQ(moved.train.loss_weights, weights);
  recipe::Recipe given = recipe_with_exits({"3"}, weights);
  EXPECT_THAT(fit_recipe(given, {"network.exits", "train.loss_weights"}), IsEmpty());
  EXPECT_EQ(given.train.loss_weights, weights);
  recipe::Recipe same = recipe_with_exits({"3"}, weights);
  EXPECT_THAT(fit_recipe(same, {}), IsEmpty());
  EXPECT_EQ(same.train.loss_weights, weights);
}

/// A state dict of a network, whose names have a prefix.
class StateDict {
 public:
  StateDict(const std::string& backbone, graph::Stem stem, int width,
            const std::string& prefix = "") {
    graph::NetworkSpec spec;
    spec.backbone = backbone;
    spec.options.stem = stem;
    spec.options.width = width;
    core::Tensors tensors;
    for (auto& [name, tensor] : graph::random_weights(graph::build_network(spec), 1))
      tensors.emplace(prefix + name, tensor);
    core::write_safetensors(path, {}, tensors);
  }

  core::TemporaryFolder folder;
  std::string path = folder.path() / "weights.safetensors";
};

struct Case {
  std::string backbone;
  graph::Stem stem;
  int width;
  std::string prefix;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.backbone << " width " << one.width << " prefix " << one.prefix;
}

class WeightsOfAnotherSize : public testing::TestWithParam<Case> {};

TEST_P(WeightsOfAnotherSize, SetTheWidthAndTheStem) {
  const Case& one = GetParam();
  const StateDict file(one.backbone, one.stem, one.width, one.prefix);
  recipe::Recipe recipe;
  recipe.network.backbone = one.backbone;
  recipe.network.options.width = 48;
  recipe.train.from = file.path;
  const std::vector<std::string> changes = fit_recipe(recipe, {"network.backbone"});
  EXPECT_EQ(recipe.network.options.width, one.width);
  EXPECT_EQ(recipe.network.options.stem, one.stem);
  EXPECT_THAT(changes.front(), HasSubstr("network.width: set to " + std::to_string(one.width)));
  EXPECT_EQ(changes.size(), one.stem == graph::Stem::imagenet ? 2u : 1u);
}

INSTANTIATE_TEST_SUITE_P(FitRecipe, WeightsOfAnotherSize,
                         testing::Values(Case{"resnet18", graph::Stem::imagenet, 8, ""},
                                         Case{"resnet34", graph::Stem::cifar, 5, "module."},
                                         Case{"resnet18", graph::Stem::imagenet, 4,
                                              "model._orig_mod."},
                                         Case{"vgg11", graph::Stem::cifar, 4, ""},
                                         Case{"mobilenet", graph::Stem::cifar, 6, "net."}));

TEST(FitRecipe, LeavesWidthAndStemThatWereGiven) {
  const StateDict file("resnet18", graph::Stem::imagenet, 8);
  recipe::Recipe recipe;
  recipe.train.from = file.path;
  EXPECT_THAT(fit_recipe(recipe, {"network.width", "network.stem"}), IsEmpty());
  EXPECT_EQ(recipe.network.options.width, 64);
  EXPECT_EQ(recipe.network.options.stem, graph::Stem::cifar);
}

TEST(FitRecipe, LeavesWidthAndStemIfTheFileDoesNotShowThem) {
  const core::TemporaryFolder folder;
  recipe::Recipe recipe;
  recipe.train.from = folder.path() / "other.safetensors";
  core::write_safetensors(recipe.train.from, {},
                          {{"conv1.weight", core::HostTensor::of({3}, std::vector<float>(3))}});
  EXPECT_THAT(fit_recipe(recipe, {}), IsEmpty());
  recipe.train.from = folder.path() / "none.safetensors";
  EXPECT_THROW(fit_recipe(recipe, {}), Error);
}

}  // namespace
}  // namespace offramp::workflow
