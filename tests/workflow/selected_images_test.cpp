#include "workflow/selected_images.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace offramp::workflow {
namespace {

TEST(TakeEvenly, TakesAllOfFewAndTheFirstOfEachPart) {
  EXPECT_EQ(take_evenly({3, 4}, 64), (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(take_evenly({0, 1, 2, 3, 4, 5}, 3), (std::vector<std::int64_t>{0, 2, 4}));
}

TEST(NormaliseImages, ReplacesTheArrayByTheListedImages) {
  // Two images of 1×2 pixels; the values of a channel are (v / 255 - mean) / std.
  data::Dataset data;
  data.height = 1;
  data.width = 2;
  data.pixels = {0, 51, 102, 153, 204, 255, 255, 204, 153, 102, 51, 0};
  data.labels = {0, 1};
  core::Preprocessing preprocessing;
  preprocessing.mean = {0, 0.2f, 0.4f};
  preprocessing.std = {1, 0.5f, 0.2f};
  std::vector<float> images(100, 7);
  normalise_images(data, std::vector<std::int64_t>{1}, preprocessing, images);
  const std::vector<float> expected = {1, 0.4f, 1.2f, 0, 1, -2};
  ASSERT_EQ(images.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(images[i], expected[i], 1e-6) << i;
  EXPECT_EQ(normalised_images(data, std::vector<std::int64_t>{1, 1}, preprocessing).size(), 12u);
}

}  // namespace
}  // namespace offramp::workflow
