#include "data/synthetic.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "core/error.h"
#include "data/synthetic_shapes.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

using testing::HasSubstr;

std::vector<std::uint8_t> image(const Dataset& dataset, std::int64_t index) {
  const auto rgb = dataset.image(index);
  return {rgb.begin(), rgb.end()};
}

std::string message(int height, int width, std::int64_t count, int classes) {
  return test::message_of<UsageError>(
      [&] { synthetic_data(height, width, count, Part::train, 1, classes); });
}

// Returns the mean absolute second difference along rows, which measures noise and edges.
double roughness(std::span<const std::uint8_t> rgb, int height, int width) {
  double sum = 0;
  for (int y = 0; y < height; ++y) {
    for (int x = 1; x + 1 < width; ++x) {
      const auto* p = rgb.data() + (y * width + x) * 3;
      sum += std::abs(p[-3] - 2 * p[0] + p[3]);
    }
  }
  return sum / (height * (width - 2));
}

TEST(SyntheticData, FillsEveryFieldOfTheDataSet) {
  const Dataset dataset = synthetic_data(33, 40, 130, Part::test, 7);
  EXPECT_EQ(dataset.height, 33);
  EXPECT_EQ(dataset.width, 40);
  EXPECT_EQ(dataset.size(), 130);
  EXPECT_EQ(dataset.pixels.size(), 130u * 33 * 40 * 3);
  ASSERT_EQ(dataset.classes.size(), 10u);
  EXPECT_EQ(dataset.classes[0], "circle");
  EXPECT_EQ(dataset.classes[5], "star");
  EXPECT_EQ(dataset.names[25], "test/star/000025");
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    EXPECT_EQ(dataset.labels[static_cast<std::size_t>(i)], i % 10);
    EXPECT_EQ(dataset.hashes[static_cast<std::size_t>(i)], image_hash(40, 33, dataset.image(i)));
  }
  EXPECT_EQ(std::set<std::uint64_t>(dataset.hashes.begin(), dataset.hashes.end()).size(), 130u);
}

TEST(SyntheticData, MakesAnImageFromItsKeyAlone) {
  const Dataset few = synthetic_data(32, 32, 10, Part::train, 1);
  const Dataset many = synthetic_data(32, 32, 500, Part::train, 1);
  for (std::int64_t i = 0; i < 10; ++i) EXPECT_EQ(image(few, i), image(many, i)) << i;
  EXPECT_NE(image(few, 3), image(synthetic_data(32, 32, 10, Part::test, 1), 3));
  EXPECT_NE(image(few, 3), image(synthetic_data(32, 32, 10, Part::train, 2), 3));
}

TEST(SyntheticData, DistributesTheDifficultyEvenly) {
  std::vector<int> tenths(10);
  for (std::int64_t i = 0; i < 2000; ++i) {
    const float difficulty = synthetic_difficulty(Part::train, i, 1);
    ASSERT_TRUE(difficulty >= 0 && difficulty < 1);
    ++tenths[static_cast<std::size_t>(difficulty * 10)];
  }
  // Four standard deviations of a binomial with 2000 draws and probability 1/10 are 54.
  for (int count : tenths) EXPECT_NEAR(count, 200, 54);
}

TEST(SyntheticData, DifficultImagesAreNoisier) {
  const Dataset dataset = synthetic_data(32, 32, 400, Part::train, 1);
  double easy = 0, hard = 0;
  int easy_count = 0, hard_count = 0;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const float difficulty = synthetic_difficulty(Part::train, i, 1);
    const double rough = roughness(dataset.image(i), 32, 32);
    if (difficulty < 0.2f) easy += rough, ++easy_count;
    if (difficulty > 0.8f) hard += rough, ++hard_count;
  }
  EXPECT_GT(hard / hard_count, 2 * easy / easy_count);
}

TEST(SyntheticData, ShowsTheShapeWhereItIsClear) {
  // The easiest images have a contrast near 0.6 and almost no clutter.
  const Dataset dataset = synthetic_data(48, 48, 300, Part::train, 5);
  int seen = 0;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    if (synthetic_difficulty(Part::train, i, 5) > 0.05f) continue;
    ++seen;
    const auto rgb = dataset.image(i);
    int low[3] = {255, 255, 255}, high[3] = {0, 0, 0};
    for (std::size_t v = 0; v < rgb.size(); ++v) {
      low[v % 3] = std::min<int>(low[v % 3], rgb[v]);
      high[v % 3] = std::max<int>(high[v % 3], rgb[v]);
    }
    EXPECT_GT(std::max({high[0] - low[0], high[1] - low[1], high[2] - low[2]}), 90) << i;
  }
  EXPECT_GT(seen, 5);
}

TEST(SyntheticData, DrawsUpToTwentyClassesAtOtherSizes) {
  const Dataset dataset = synthetic_data(96, 64, 40, Part::train, 1, 20);
  EXPECT_EQ(dataset.classes.size(), 20u);
  EXPECT_EQ(std::set<std::string>(dataset.classes.begin(), dataset.classes.end()).size(), 20u);
  EXPECT_EQ(dataset.labels[39], 19);
}

TEST(SyntheticData, SaysWhatIsOutOfRange) {
  EXPECT_THAT(message(31, 40, 100, 10), HasSubstr("sides of at least 32: got 31x40"));
  EXPECT_THAT(message(32, 32, 100, 1), HasSubstr("from 2 to 20 classes: got 1"));
  EXPECT_THAT(message(32, 32, 100, 21), HasSubstr("from 2 to 20 classes: got 21"));
  EXPECT_THAT(message(32, 32, 9, 10), HasSubstr("at least as many as the 10 classes: got 9"));
  EXPECT_THAT(message(32, 32, -5, 10), HasSubstr("got -5"));
}

}  // namespace
}  // namespace offramp::data
