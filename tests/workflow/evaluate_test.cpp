#include "workflow/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/random_weights.h"
#include "image/image.h"
#include "tests/support/graphs.h"
#include "tests/support/reference.h"

namespace offramp::workflow {
namespace {

using testing::ElementsAre;

/// 7 images with different patterns for the small networks, and the reference predictor.
class Evaluate : public testing::Test {
 protected:
  Evaluate() {
    data.height = graph.input[1];
    data.width = graph.input[2];
    for (int i = 0; i < 7; ++i) {
      data.labels.push_back(i % graph.classes);
      data.hashes.push_back(100 + static_cast<std::uint64_t>(i));
    }
    data.pixels.resize(data.labels.size() * static_cast<std::size_t>(data.height * data.width * 3));
    for (std::size_t i = 0; i < data.pixels.size(); ++i)
      data.pixels[i] = static_cast<std::uint8_t>((i * 2654435761u) >> 24);
    preprocessing.height = data.height;
    preprocessing.width = data.width;
  }

  std::vector<float> input(const std::vector<std::int64_t>& indices) const {
    const auto size = static_cast<std::size_t>(data.height * data.width * 3);
    std::vector<float> images(indices.size() * size);
    for (std::size_t i = 0; i < indices.size(); ++i)
      image::normalise(data.image(indices[i]), preprocessing,
                       std::span(images).subspan(i * size, size));
    return images;
  }

  graph::Graph graph = small_resnet();
  ReferencePredictor predictor{graph, graph::random_weights(graph, 3)};
  data::Dataset data;
  core::Preprocessing preprocessing;
};

TEST_F(Evaluate, GivesTheSameLogitsHoweverImagesAreBatched) {
  const std::vector<std::int64_t> indices = {6, 0, 3, 1, 5};
  const std::vector<float> expected = predictor.predict_all(input(indices));
  for (const int batch : {1, 2, 5, 100}) {
    SCOPED_TRACE(batch);
    const eval::SavedLogits saved =
        workflow::run_all_exits(predictor, {&data, indices, &preprocessing, batch});
    EXPECT_EQ(saved.exits, 3);
    EXPECT_EQ(saved.classes, 10);
    EXPECT_EQ(saved.logits, expected);
    EXPECT_THAT(saved.labels, ElementsAre(6, 0, 3, 1, 5));
    EXPECT_THAT(saved.hashes, ElementsAre(106, 100, 103, 101, 105));
  }
}

TEST_F(Evaluate, ARunThatStopsAgreesWithAReplay) {
  const EvaluationSet set{&data, {0, 1, 2, 3, 4, 5, 6}, &preprocessing, 3};
  const eval::SavedLogits saved = workflow::run_all_exits(predictor, set);
  for (const policy::Criterion criterion :
       {policy::Criterion::confidence, policy::Criterion::entropy, policy::Criterion::margin,
        policy::Criterion::patience})
    for (const policy::Ensemble ensemble :
         {policy::Ensemble::off, policy::Ensemble::mean, policy::Ensemble::geometric,
          policy::Ensemble::weighted})
      for (const float threshold : {0.0f, 0.1f, 0.2f, 0.4f, 1.0f, 2.0f}) {
        policy::Policy policy = policy::never_stop(3);
        policy.criterion = criterion;
        policy.ensemble = ensemble;
        if (ensemble == policy::Ensemble::weighted) policy.ensemble_weights = {0.2f, 0.3f, 0.5f};
        policy.temperatures = {0.8f, 1.0f, 1.3f};
        policy.thresholds = {threshold, std::nullopt};
        if (threshold > 0.15f) policy.thresholds[1] = threshold;
        const StoppedAnswers stopped = workflow::run_with_policy(predictor, set, policy);
        const StoppedAnswers replayed = replay(saved.view(), policy);
        EXPECT_EQ(stopped.exit_index, replayed.exit_index);
        EXPECT_EQ(stopped.answers, replayed.answers);
        EXPECT_EQ(stopped.probabilities, replayed.probabilities);
      }
}

TEST(ExitPlace, IsTheLastUnitOfTheSegment) {
  const graph::Graph graph = small_resnet();
  EXPECT_EQ(unit_before_exit(graph, 2), "layer4.1");
  EXPECT_EQ(unit_before_exit(graph, 0).find(" to "), std::string::npos);
}

}  // namespace
}  // namespace offramp::workflow
