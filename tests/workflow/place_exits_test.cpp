#include "workflow/place_exits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "graph/cost.h"
#include "graph/cut_points.h"
#include "graph/random_weights.h"
#include "tests/support/graphs.h"
#include "tests/support/reference.h"

namespace offramp::workflow {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

constexpr int kClasses = 10;

/// A ResNet with heads of two kinds at every place, and logits as if each exit classified images up
/// to a difficulty that grows with its depth.
class PlaceExits : public testing::Test {
 protected:
  PlaceExits() {
    const graph::Graph network = small_resnet();
    points = graph::places_for_exits(network);
    model.graph = graph::with_every_head(network, points, {"avg", "conv-spp"}, {1, 2});
    model.weights = graph::random_weights(model.graph, 1);
    for (int c = 0; c < kClasses; ++c) model.classes.push_back("class " + std::to_string(c));
    model.preprocessing.height = static_cast<int>(model.graph.input[1]);
    model.preprocessing.width = static_cast<int>(model.graph.input[2]);
    tune.exits = static_cast<int>(graph::exit_segments(model.graph).size());
    tune.classes = kClasses;
    model.loss_weights.assign(static_cast<std::size_t>(tune.exits), 1);
    options.kinds = {"avg", "conv-spp"};
    options.aim = policy::AccuracyDrop{0.02};
    options.max_exits = 2;
    options.run = {"f32", 1, 2};
    draw(300);
  }

  void draw(std::int64_t images) {
    tune.labels.clear();
    tune.logits.clear();
    for (std::int64_t i = 0; i < images; ++i) tune.labels.push_back(i % kClasses);
    for (int k = 0; k < tune.exits; ++k) {
      const double depth = static_cast<double>(k + 1) / tune.exits;
      for (std::int64_t i = 0; i < images; ++i) {
        core::KeyedRandom of_image(5, static_cast<std::uint64_t>(i)),
            own(6, static_cast<std::uint64_t>(k), static_cast<std::uint64_t>(i));
        const double margin = 1 + 4 * depth - 5 * static_cast<double>(of_image.uniform()) +
                              0.5 * static_cast<double>(own.uniform());
        for (int c = 0; c < kClasses; ++c)
          tune.logits.push_back(c == i % kClasses ? static_cast<float>(margin)
                                                  : 0.1f * own.uniform());
      }
    }
  }

  float& logit(int k, std::size_t image, int label) {
    return tune.logits[(static_cast<std::size_t>(k) * tune.labels.size() + image) * kClasses +
                       static_cast<std::size_t>(label)];
  }

  std::vector<graph::CutPoint> points;
  model::ModelFile model;
  eval::SavedLogits tune;
  PlaceExitsOptions options;
};

TEST_F(PlaceExits, MeasuresEveryPlaceAndChoosesSome) {
  const ExitPlacement result = place_exits(model, tune, options);
  EXPECT_EQ(result.images, 300);
  ASSERT_EQ(result.candidates.size(), 2 * points.size());
  for (std::size_t k = 0; k < result.candidates.size(); ++k) {
    const ExitCandidate& of = result.candidates[k];
    EXPECT_EQ(of.after, points[k / 2].name);
    EXPECT_EQ(of.kind, k % 2 == 0 ? "avg" : "conv-spp");
    EXPECT_DOUBLE_EQ(of.body_cost, points[k / 2].relative_macs);
    EXPECT_GE(of.accuracy, of.accuracy_interval.low);
    EXPECT_EQ(of.alone.set, policy::ExitSet{static_cast<int>(k)});
    const bool in_set = std::ranges::count(result.chosen.set, static_cast<int>(k)) > 0;
    EXPECT_EQ(of.chosen, in_set);
    EXPECT_EQ(of.without.has_value(), in_set);
    // One exit is at least as bad as the choice, and so is the choice without one of its exits.
    if (of.alone.met) {
      EXPECT_GE(of.alone.relative_cost, result.chosen.relative_cost - 1e-9);
    }
    if (in_set && of.without->met) {
      EXPECT_GE(of.without->relative_cost, result.chosen.relative_cost - 1e-9);
    }
  }
  EXPECT_FALSE(result.chosen.set.empty());
  EXPECT_LE(result.chosen.set.size(), 2u);
  EXPECT_EQ(result.best_of_size.size(), 3u);

  ASSERT_TRUE(result.held_out);
  EXPECT_EQ(result.held_out->images, 300);
  EXPECT_EQ(result.held_out->last_accuracy, result.last_accuracy);
  EXPECT_LE(result.held_out->cost_interval.low, result.held_out->relative_cost);
  EXPECT_LE(result.held_out->difference.low,
            result.held_out->accuracy - result.held_out->last_accuracy);
}

TEST_F(PlaceExits, TheChosenNetworkHasTheCostsOfTheSearch) {
  const ExitPlacement result = place_exits(model, tune, options);
  const model::ModelFile chosen = with_chosen_exits(model, result);
  const std::vector<double> costs = graph::cost_of(chosen.graph).relative_costs();
  ASSERT_EQ(costs.size(), result.chosen.set.size() + 1);
  double heads = 0;
  for (std::size_t i = 0; i < result.chosen.set.size(); ++i) {
    const ExitCandidate& of = result.candidates[static_cast<std::size_t>(result.chosen.set[i])];
    heads += of.head_cost;
    EXPECT_NEAR(costs[i], of.body_cost + heads, 1e-12);
  }
  EXPECT_NEAR(costs.back(), 1 + heads, 1e-12);
  EXPECT_EQ(chosen.weights.at("fc.weight"), model.weights.at("fc.weight"));
}

TEST_F(PlaceExits, ReportsTheResultOnImagesThatTheSearchDidNotUse) {
  // On every fifth image, the first fold, exit 1 is confident in a wrong class; on all others it is
  // confident in the label. Only a search that does not use the fold stops these images there.
  for (std::size_t i = 0; i < tune.labels.size(); ++i) {
    for (int c = 0; c < kClasses; ++c) logit(0, i, c) = 0;
    const auto label = static_cast<int>(tune.labels[i]);
    logit(0, i, i % 5 == 0 ? (label + 1) % kClasses : label) = 20;
    logit(tune.exits - 1, i, label) = 20;
  }
  const ExitPlacement result = place_exits(model, tune, options);
  ASSERT_TRUE(result.held_out);
  EXPECT_NEAR(result.held_out->harm, 0.2, 0.02);
  EXPECT_LT(result.held_out->same_choice, result.held_out->folds);
}

TEST_F(PlaceExits, ReadsNoLabelIfLabelFree) {
  options.label_free = true;
  const ExitPlacement with_labels = place_exits(model, tune, options);
  std::ranges::fill(tune.labels, 0);
  const ExitPlacement without = place_exits(model, tune, options);
  EXPECT_EQ(with_labels.chosen.set, without.chosen.set);
  EXPECT_EQ(with_labels.chosen.relative_cost, without.chosen.relative_cost);
  EXPECT_EQ(without.last_accuracy, 1);
  EXPECT_EQ(without.candidates[3].accuracy, without.candidates[3].agreement);
}

TEST_F(PlaceExits, MeasuresTimesOnThisMachine) {
  options.aim = policy::AccuracyDrop{0.02, {}, policy::CostUnit::ms};
  draw(60);
  const ExitPlacement result = place_exits(model, tune, options);
  ASSERT_EQ(result.body_ms.size(), static_cast<std::size_t>(tune.exits));
  EXPECT_TRUE(std::ranges::is_sorted(result.body_ms));
  for (const double ms : result.head_ms) EXPECT_GE(ms, 0);
  EXPECT_GE(result.body_ms.front(), 0);
  EXPECT_GT(result.body_ms.back(), 0);
  EXPECT_EQ(result.head_ms.back(), 0);
}

TEST_F(PlaceExits, TheRuntimeRunsSeveralHeadsAtOnePlace) {
  const std::vector<float> images = graph::random_images(model.graph, 3, 2);
  ReferencePredictor reference(model.graph, model.weights);
  const std::vector<float> expected = reference.predict_all(images);
  const std::vector<float> got = open_model(model, options.run, {})->predict_all(images);
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], 1e-3 * (1 + std::abs(expected[i]))) << i;
}

TEST_F(PlaceExits, ChoosesForABudgetAndForAGuarantee) {
  options.aim = policy::MaxCost{0.7};
  EXPECT_LE(place_exits(model, tune, options).chosen.relative_cost, 0.7 + 1e-9);
  options.aim = policy::HarmGuarantee{.epsilon = 0.1};
  model.provenance.data.certify.resize(500);
  EXPECT_FALSE(place_exits(model, tune, options).chosen.set.empty());
  // With 20 images nothing can be certified for 0.1, so no exit saves anything.
  model.provenance.data.certify.resize(20);
  EXPECT_THAT(place_exits(model, tune, options).chosen.set, IsEmpty());
}

TEST_F(PlaceExits, RefusesWhatDoesNotFit) {
  PlaceExitsOptions how = options;
  how.aim = policy::FixedThreshold{0.5};
  EXPECT_THAT([&] { place_exits(model, tune, how); },
              ThrowsMessage<UsageError>("aim: exits cannot be chosen for a fixed threshold"));
  how = options;
  how.kinds = {"avg"};
  EXPECT_NO_THROW(place_exits(model, tune, how));  // one kind at 2 × as many places of equal cost
  how.kinds = {"avg", "spp", "conv-spp", "conv-avg", "deep-spp"};
  EXPECT_THAT([&] { place_exits(model, tune, how); },
              ThrowsMessage<Error>(HasSubstr("are not 5 kinds of heads at each place")));
  eval::SavedLogits other = tune;
  other.exits -= 1;
  EXPECT_THAT([&] { place_exits(model, other, options); },
              ThrowsMessage<Error>(HasSubstr("the logits are of")));
  how = options;
  how.max_exits = -1;
  EXPECT_THROW(place_exits(model, tune, how), UsageError);
}

TEST_F(PlaceExits, CanBeCancelled) {
  Progress progress;
  progress.cancelled = [] { return true; };
  EXPECT_THROW(place_exits(model, tune, options, progress), Cancelled);
}

}  // namespace
}  // namespace offramp::workflow
