#include "model/remove_exits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "graph/random_weights.h"
#include "model/json_reader.h"
#include "tests/support/graphs.h"
#include "tests/support/reference.h"

namespace offramp::model {
namespace {

using testing::ElementsAre;
using testing::ThrowsMessage;

/// Returns a model of a graph in which every optional part is present.
ModelFile full_model(const graph::Graph& graph) {
  ModelFile model;
  model.graph = graph;
  model.weights = graph::random_weights(graph, 1);
  for (std::int64_t i = 0; i < graph.classes; ++i) model.classes.push_back(std::to_string(i));
  model.preprocessing.height = static_cast<int>(graph.input[1]);
  model.preprocessing.width = static_cast<int>(graph.input[2]);
  const auto exits = graph::exit_segments(graph).size();
  for (std::size_t k = 0; k < exits; ++k)
    model.loss_weights.push_back(static_cast<double>(k + 1) / 10);
  model.policy =
      policy::ChosenPolicy{policy::never_stop(static_cast<int>(exits)), policy::MaxCost{0.5}};
  model.certificates = 2;
  model.provenance.data = {"drawn", {1, 2}, {3}, {4, 5}};
  model.provenance.details_json = R"({"seed":7})";
  return model;
}

/// Returns the name of a head's parameter after the exits `dropped` (0-based) were removed.
std::string renamed(const std::string& name, const std::vector<int>& dropped) {
  const std::string prefix = "exits.";
  if (!name.starts_with(prefix)) return name;
  const std::size_t dot = name.find('.', prefix.size());
  const int number = std::stoi(name.substr(prefix.size(), dot - prefix.size()));
  const auto gone = std::ranges::count_if(dropped, [&](int k) { return k + 1 < number; });
  return prefix + std::to_string(number - gone) + name.substr(dot);
}

const std::vector<std::vector<int>> kDrops = {{}, {0}, {1}, {0, 1}};

TEST(RemoveExits, KeepsTheStoredLogitsOfTheExitsThatStay) {
  ModelFile model = full_model(small_resnet());
  model.stored_images.count = 2;
  model.stored_images.pixels.resize(
      static_cast<std::size_t>(2 * core::element_count(model.graph.input)));
  for (int image = 0; image < 2; ++image)
    for (int exit = 1; exit <= 3; ++exit)
      model.stored_images.logits.insert(model.stored_images.logits.end(), 10,
                                        static_cast<float>(10 * image + exit));
  const StoredImages kept = remove_exits(model, {1}).stored_images;
  EXPECT_EQ(kept.pixels, model.stored_images.pixels);
  const std::vector<float>& logits = kept.logits;
  ASSERT_EQ(logits.size(), 40u);
  EXPECT_THAT((std::vector<float>{logits[0], logits[10], logits[20], logits[30]}),
              ElementsAre(1, 3, 11, 13));
}

TEST(RemoveExits, KeepsTheSameBytesUnderTheNewNames) {
  for (const graph::Graph& graph : example_graphs())
    for (const std::vector<int>& dropped : kDrops) {
      SCOPED_TRACE(graph.name + testing::PrintToString(dropped));
      const ModelFile model = full_model(graph), left = remove_exits(model, dropped);
      std::size_t kept = 0;
      for (const graph::Parameter& parameter : graph::parameters(graph)) {
        const bool goes = std::ranges::any_of(dropped, [&](int k) {
          return parameter.name.starts_with("exits." + std::to_string(k + 1) + ".");
        });
        if (goes) continue;
        ++kept;
        const auto found = left.weights.find(renamed(parameter.name, dropped));
        ASSERT_NE(found, left.weights.end()) << parameter.name;
        EXPECT_EQ(found->second, model.weights.at(parameter.name)) << parameter.name;
      }
      EXPECT_EQ(left.weights.size(), kept);
    }
}

TEST(RemoveExits, LeavesTheOtherExitsTheirLogits) {
  for (const graph::Graph& graph : example_graphs()) {
    const ModelFile model = full_model(graph);
    const std::vector<float> images = graph::random_images(graph, 2, 5);
    const auto rows = static_cast<std::ptrdiff_t>(2 * graph.classes);
    const auto all = ReferencePredictor(graph, model.weights).logits(images);
    for (const std::vector<int>& dropped : kDrops) {
      SCOPED_TRACE(graph.name + testing::PrintToString(dropped));
      const ModelFile left = remove_exits(model, dropped);
      std::vector<double> expected;
      for (int k = 0; k < 3; ++k)
        if (!std::ranges::binary_search(dropped, k))
          expected.insert(expected.end(), all.begin() + k * rows, all.begin() + (k + 1) * rows);
      EXPECT_EQ(ReferencePredictor(left.graph, left.weights).logits(images), expected);
    }
  }
}

TEST(RemoveExits, CutsLossWeightsAndThePolicyAndKeepsTheRest) {
  const ModelFile model = full_model(small_resnet()), left = remove_exits(model, {0});
  EXPECT_THAT(left.loss_weights, ElementsAre(0.2, 0.3));
  EXPECT_FALSE(left.policy);
  EXPECT_EQ(left.classes, model.classes);
  EXPECT_EQ(left.preprocessing, model.preprocessing);
  // The number of certificates from its certify images stays the same.
  EXPECT_EQ(left.certificates, 2);
  EXPECT_EQ(left.provenance.data.source, "drawn");
  EXPECT_EQ(left.provenance.data.train, model.provenance.data.train);
  EXPECT_EQ(left.provenance.data.tune, model.provenance.data.tune);
  EXPECT_EQ(left.provenance.data.certify, model.provenance.data.certify);
}

TEST(RemoveExits, NotesInItsDetailsWhatWasTakenOutEachTime) {
  const ModelFile once = remove_exits(full_model(small_resnet()), {0});
  EXPECT_EQ(once.provenance.details_json, R"({"seed":7,"dropped_exits":[{"exits":[1],"of":3}]})");
  EXPECT_EQ(remove_exits(once, {0}).provenance.details_json,
            R"({"seed":7,"dropped_exits":[{"exits":[1],"of":3},{"exits":[1],"of":2}]})");
  EXPECT_EQ(remove_exits(once, {}).provenance.details_json, once.provenance.details_json);
}

TEST(RemoveExits, OneAfterTheOtherIsAsGoodAsAtOnce) {
  const ModelFile model = full_model(two_scale());
  const ModelFile at_once = remove_exits(model, {0, 1});
  const ModelFile in_turn = remove_exits(remove_exits(model, {1}), {0});
  EXPECT_EQ(at_once.graph, in_turn.graph);
  EXPECT_EQ(at_once.weights, in_turn.weights);
}

TEST(RemoveExits, GivesAFileThatLoads) {
  const core::TemporaryFolder folder;
  const auto path = folder.path() / "model.safetensors";
  for (const std::vector<int>& dropped : kDrops) {
    ModelFile left = remove_exits(full_model(small_resnet()), dropped);
    left.policy =
        policy::ChosenPolicy{policy::never_stop(static_cast<int>(left.loss_weights.size()))};
    save_model(path, left);
    const ModelFile again = load_model(path);
    EXPECT_EQ(again.graph, left.graph);
    EXPECT_EQ(again.weights, left.weights);
    EXPECT_EQ(again.certificates, 2);
  }
}

TEST(RemoveExits, RefusesExitsBeyondTheNetwork) {
  const ModelFile model = full_model(small_resnet());
  const std::string advice = ": exits must increase and lie between 1 and 2";
  EXPECT_THAT([&] { remove_exits(model, {2}); },
              ThrowsMessage<Error>("cannot remove exit 3" + advice));
  EXPECT_THAT([&] { remove_exits(model, {-1}); },
              ThrowsMessage<Error>("cannot remove exit 0" + advice));
  EXPECT_THAT(
      [&] {
        remove_exits(model, {1, 0});
      },
      ThrowsMessage<Error>("cannot remove exit 1" + advice));
  EXPECT_THAT(
      [&] {
        remove_exits(model, {0, 0});
      },
      ThrowsMessage<Error>("cannot remove exit 1" + advice));
}

}  // namespace
}  // namespace offramp::model
