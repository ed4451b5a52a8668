#include "eval/worst_class.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/error.h"

namespace offramp::eval {
namespace {

using testing::ThrowsMessage;

/// Labels, and the classes that the policy and the last exit predict. The exits are not needed.
struct Answers {
  std::vector<std::int64_t> labels, answers, references;
  std::vector<int> exits = {};

  PolicyOutcome outcome() const { return {labels, exits, answers, references}; }
};

// Class 0 has 4 images, of which one is harmed and one helped. Class 1 has 2 images, of which one
// is harmed. Class 2 has 3 images, of which none is harmed; on two, both predictions are wrong but
// differ.
const Answers kThree = {.labels = {0, 0, 0, 0, 1, 1, 2, 2, 2},
                        .answers = {1, 0, 0, 0, 0, 1, 0, 0, 2},
                        .references = {0, 1, 0, 0, 1, 1, 1, 1, 2}};

/// Returns p with P(X ≤ count) = level for X ~ Binomial(images, p), by bisection.
double upper_by_hand(int count, int images, double level) {
  double low = 0, high = 1;
  for (int step = 0; step < 100; ++step) {
    const double p = (low + high) / 2;
    double sum = 0, ways = 1;
    for (int x = 0; x <= count; ++x) {
      sum += ways * std::pow(p, x) * std::pow(1 - p, images - x);
      ways *= static_cast<double>(images - x) / (x + 1);
    }
    (sum > level ? low : high) = p;
  }
  return low;
}

TEST(WorstClass, CountsHarmByClass) {
  const WorstClass worst = worst_class(kThree.outcome(), 3, false, 0.15);
  EXPECT_EQ(worst.label, 1);
  EXPECT_EQ(worst.images, 2);
  EXPECT_EQ(worst.counted, 1);
  // The bound for 1 of 2 images at level 0.15 / 3 is p with 1 - p² = 0.05.
  EXPECT_NEAR(worst.upper_bound, std::sqrt(0.95), 1e-9);
}

TEST(WorstClass, LabelFreeCountsEveryOtherAnswer) {
  const WorstClass worst = worst_class(kThree.outcome(), 3, true, 0.15);
  EXPECT_EQ(worst.label, 2);
  EXPECT_EQ(worst.images, 3);
  EXPECT_EQ(worst.counted, 2);
  EXPECT_NEAR(worst.upper_bound, std::cbrt(0.95), 1e-9);  // the root of 1 - p³ = 0.05
}

TEST(WorstClass, IsTheHighestBoundRatherThanTheHighestRate) {
  // Class 0 counts 2 of 40 images. Class 1 counts 0 of 2, too few for a low bound.
  Answers some;
  some.labels.assign(40, 0);
  some.labels.insert(some.labels.end(), 2, 1);
  some.references = some.answers = some.labels;
  some.answers[3] = some.answers[17] = 1;
  const WorstClass worst = worst_class(some.outcome(), 2, false, 0.1);
  EXPECT_EQ(worst.label, 1);
  EXPECT_EQ(worst.counted, 0);
  EXPECT_NEAR(worst.upper_bound, 1 - std::sqrt(0.05), 1e-9);
  EXPECT_GT(worst.upper_bound, upper_by_hand(2, 40, 0.05));

  // With 60 more images of class 1, class 0 has the highest bound.
  some.labels.insert(some.labels.end(), 60, 1);
  some.references.insert(some.references.end(), 60, 1);
  some.answers.insert(some.answers.end(), 60, 1);
  const WorstClass other = worst_class(some.outcome(), 2, false, 0.1);
  EXPECT_EQ(other.label, 0);
  EXPECT_EQ(other.counted, 2);
  EXPECT_NEAR(other.upper_bound, upper_by_hand(2, 40, 0.05), 1e-9);
}

TEST(WorstClass, HasTheBoundOneForAClassWithoutImages) {
  const WorstClass worst = worst_class(kThree.outcome(), 4, false, 0.1);
  EXPECT_EQ(worst.label, 3);
  EXPECT_EQ(worst.images, 0);
  EXPECT_EQ(worst.upper_bound, 1);
}

TEST(WorstClass, RefusesSizesThatDoNotFitAndInvalidLabels) {
  Answers few = kThree;
  few.references.pop_back();
  EXPECT_THAT([&] { worst_class(few.outcome(), 3, false, 0.1); },
              ThrowsMessage<Error>(
                  "got 9 predictions and 8 references, expected 9 of each: one for each image"));
  EXPECT_THAT([&] { worst_class(kThree.outcome(), 2, false, 0.1); },
              ThrowsMessage<Error>("label 2 is out of range for 2 classes"));
}

}  // namespace
}  // namespace offramp::eval
