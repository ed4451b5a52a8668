#include "eval/predictions.h"

#include <gmock/gmock.h>

#include <cmath>

#include "core/random.h"
#include "eval/metrics.h"

namespace offramp::eval {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Logits {
  std::vector<float> values;
  std::vector<std::int64_t> labels;
  policy::LogitsView view(int exits, int classes) const { return {values, labels, exits, classes}; }
};

/// Five images of class 0 at two exits. `gap` is the logit of class 0 minus that of class 1.
Logits five_images() {
  Logits logits{{}, {0, 0, 0, 0, 0}};
  for (const float gap : {2.0f, 2.0f, -1.0f, 3.0f, -1.0f,  // exit 1 is correct on images 0, 1, 3
                          1.0f, -2.0f, 1.0f, -2.0f, -1.0f})
    logits.values.insert(logits.values.end(), {gap, 0.0f});
  return logits;
}

TEST(Predictions, ConfidenceIsTheSoftmaxAtTheTemperature) {
  const Logits logits = five_images();
  const std::vector<float> temperatures = {2, 1};
  const Predictions predictions(logits.view(2, 2), temperatures);
  EXPECT_NEAR(predictions.at(0, 0).confidence, 1 / (1 + std::exp(-1.0)), 1e-12);
  EXPECT_NEAR(predictions.at(1, 1).confidence, 1 / (1 + std::exp(-2.0)), 1e-12);
  EXPECT_EQ(predictions.at(1, 1).answer, 1);
  EXPECT_FALSE(predictions.is_correct(1, 1));
}

TEST(Predictions, CountsFlows) {
  const Logits logits = five_images();
  const std::vector<float> temperatures = {1, 1};
  const Flow flow = eval::flow(Predictions(logits.view(2, 2), temperatures), 0, 1);
  EXPECT_EQ(flow.stays_correct, 1);    // image 0
  EXPECT_EQ(flow.becomes_wrong, 2);    // images 1, 3
  EXPECT_EQ(flow.becomes_correct, 1);  // image 2
  EXPECT_EQ(flow.stays_wrong, 1);      // image 4
}

TEST(Predictions, GalleriesAreMostConfidentFirstAndTiesInOrder) {
  const Logits logits = five_images();
  const std::vector<float> temperatures = {1, 1};
  const Predictions predictions(logits.view(2, 2), temperatures);
  EXPECT_THAT(most_confident(predictions, 0, true, 9), ElementsAre(3, 0, 1));
  EXPECT_THAT(most_confident(predictions, 0, true, 2), ElementsAre(3, 0));
  EXPECT_THAT(most_confident(predictions, 0, false, 9), ElementsAre(2, 4));
  EXPECT_THAT(most_confident(predictions, 1, false, 9), ElementsAre(1, 3, 4));
  EXPECT_THAT(destructive_images(predictions, 9), ElementsAre(3, 1));
}

TEST(Predictions, GalleriesHoldSomeImagesOfEachClass) {
  // Logits of classes 0 and 1; images 0 to 2 are of class 0, 3 and 4 of class 1.
  const Logits logits{{9, 0, 8, 0, 7, 0, 0, 5, 0, 6}, {0, 0, 0, 1, 1}};
  const std::vector<float> temperatures = {1};
  const Predictions predictions(logits.view(1, 2), temperatures);
  EXPECT_THAT(most_confident(predictions, 0, true, 9, 2), ElementsAre(0, 1, 4, 3));
  EXPECT_THAT(most_confident(predictions, 0, true, 9, 1), ElementsAre(0, 4));
  EXPECT_THAT(most_confident(predictions, 0, true, 2, 2), ElementsAre(0, 1));
}

TEST(Predictions, ConfidencesThatRoundToOneAreStillOrdered) {
  const Logits logits{{50, 0, 60, 0, 55, 0}, {0, 0, 0}};
  const std::vector<float> temperatures = {1};
  const Predictions predictions(logits.view(1, 2), temperatures);
  EXPECT_EQ(predictions.at(0, 0).confidence, 1);
  EXPECT_THAT(most_confident(predictions, 0, true, 3), ElementsAre(1, 2, 0));
  EXPECT_THAT(destructive_images(predictions, 3), IsEmpty());
}

TEST(Predictions, ReliabilityAgreesWithTheMetrics) {
  constexpr std::int64_t kImages = 2000;
  Logits logits;
  core::KeyedRandom random(4, 0);
  for (std::int64_t i = 0; i < 3 * kImages * 7; ++i) logits.values.push_back(random.uniform(-3, 3));
  for (std::int64_t i = 0; i < kImages; ++i)
    logits.labels.push_back(static_cast<std::int64_t>(random.below(7)));
  const std::vector<float> ones(3, 1.0f);
  const std::vector<double> weights(3, 1.0);
  const Predictions predictions(logits.view(3, 7), ones);
  const Metrics metrics = measure(logits.view(3, 7), weights);
  for (int k = 0; k < 3; ++k) {
    const Reliability found = reliability(predictions, k);
    std::int64_t images = 0;
    for (const ReliabilityBin& bin : found.bins()) images += bin.images;
    EXPECT_EQ(images, kImages);
    EXPECT_NEAR(found.error(), metrics.exits[static_cast<std::size_t>(k)].ece, 1e-12);
  }
}

TEST(Predictions, CountsWhereClassesLeave) {
  const Logits logits{{1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1}, {0, 0, 2}};
  const std::vector<int> exit_index = {0, 1, 1};
  const std::vector<std::int64_t> answers = {0, 1, 2};
  const auto classes = exits_by_class(logits.view(2, 3), exit_index, answers);
  ASSERT_EQ(classes.size(), 3u);
  EXPECT_THAT(classes[0].stopped, ElementsAre(1, 1));
  EXPECT_THAT(classes[0].correct, ElementsAre(1, 0));
  EXPECT_EQ(classes[0].mean_exit(), 0.5);
  EXPECT_EQ(classes[1].images, 0);
  EXPECT_EQ(classes[1].mean_exit(), -1);
  EXPECT_THAT(classes[2].correct, ElementsAre(0, 1));
}

}  // namespace
}  // namespace offramp::eval
