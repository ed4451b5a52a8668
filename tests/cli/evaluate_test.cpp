#include "cli/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/image.h"
#include "tests/support/graphs.h"
#include "tests/support/random_weights.h"
#include "tests/support/reference.h"

namespace offramp::cli {
namespace {

using testing::ElementsAre;

/// 7 patterned images for the small networks, and a predictor of plain loops.
class Evaluate : public testing::Test {
 protected:
  Evaluate() {
    data.height = graph.input[1];
    data.width = graph.input[2];
    for (int i = 0; i < 7; ++i) data.labels.push_back(i % graph.classes);
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
      normalise(data.image(indices[i]), preprocessing, std::span(images).subspan(i * size, size));
    return images;
  }

  Graph graph = small_resnet();
  ReferencePredictor predictor{graph, random_weights(graph, 3)};
  Dataset data;
  Preprocessing preprocessing;
};

TEST_F(Evaluate, GivesTheSameLogitsHoweverImagesAreBatched) {
  const std::vector<std::int64_t> indices = {6, 0, 3, 1, 5};
  const std::vector<float> expected = predictor.predict_all(input(indices));
  for (const int batch : {1, 2, 5, 100}) {
    SCOPED_TRACE(batch);
    const SavedLogits saved = run_all_exits(predictor, {&data, indices, &preprocessing, batch});
    EXPECT_EQ(saved.exits, 3);
    EXPECT_EQ(saved.classes, 10);
    EXPECT_EQ(saved.logits, expected);
    EXPECT_THAT(saved.labels, ElementsAre(6, 0, 3, 1, 5));
  }
}

TEST_F(Evaluate, ARunThatStopsAgreesWithAReplay) {
  const EvaluationSet set{&data, {0, 1, 2, 3, 4, 5, 6}, &preprocessing, 3};
  const SavedLogits saved = run_all_exits(predictor, set);
  for (const Criterion criterion : {Criterion::confidence, Criterion::entropy, Criterion::margin})
    for (const double threshold : {0.0, 0.1, 0.2, 0.4, 1.0}) {
      const ThresholdRule rule{criterion, threshold};
      const StoppedAnswers stopped = run_until(predictor, set, rule);
      const StoppedAnswers replayed = replay(saved.view(), rule);
      EXPECT_EQ(stopped.exit_index, replayed.exit_index);
      EXPECT_EQ(stopped.answers, replayed.answers);
    }
}

TEST(ThresholdRule, StopsWhereTheScoreReachesIt) {
  // softmax(log 9, 0) = 0.9, 0.1
  const std::vector<float> logits = {std::log(9.0f), 0.0f};
  EXPECT_TRUE((ThresholdRule{Criterion::confidence, 0.8999})(logits));
  EXPECT_FALSE((ThresholdRule{Criterion::confidence, 0.9001})(logits));
  EXPECT_TRUE((ThresholdRule{Criterion::margin, 0.7999})(logits));
  EXPECT_FALSE((ThresholdRule{Criterion::margin, 0.8001})(logits));
}

TEST(ExitPlace, IsTheLastUnitOfTheSegment) {
  const Graph graph = small_resnet();
  EXPECT_EQ(exit_place(graph, 2), "layer4.1");
  EXPECT_EQ(exit_place(graph, 0).find(" to "), std::string::npos);
}

}  // namespace
}  // namespace offramp::cli
