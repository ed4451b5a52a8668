#include <gtest/gtest.h>

#include <array>

#include "core/error.h"
#include "data/dataset.h"

namespace offramp::data {
namespace {

TEST(ChannelStatistics, AreOfTheImagesGivenAlone) {
  Dataset dataset;
  dataset.width = 2;
  dataset.height = 1;
  dataset.classes = {"only"};
  dataset.labels = {0, 0, 0};
  dataset.pixels = {0,   51, 255, 255, 51, 255,   // red 0 and 255
                    9,   9,  9,   9,   9,  9,     // left out
                    255, 51, 0,   0,   51, 255};  // blue 0 and 255
  const std::array<std::int64_t, 2> indices = {0, 2};
  const ChannelStatistics statistics = channel_statistics(dataset, indices);
  EXPECT_FLOAT_EQ(statistics.mean[0], 0.5f);
  EXPECT_FLOAT_EQ(statistics.mean[1], 0.2f);
  EXPECT_FLOAT_EQ(statistics.mean[2], 0.75f);
  EXPECT_FLOAT_EQ(statistics.std[0], 0.5f);
  EXPECT_FLOAT_EQ(statistics.std[1], 0.0f);
  EXPECT_FLOAT_EQ(statistics.std[2], 0.4330127f);  // sqrt(3) / 4
}

TEST(ChannelStatistics, CountImagesBeyondOneThreadsShare) {
  Dataset dataset;
  dataset.width = dataset.height = 1;
  std::vector<std::int64_t> indices;
  for (int i = 0; i < 1000; ++i) {
    dataset.labels.push_back(0);
    dataset.pixels.insert(dataset.pixels.end(), 3, static_cast<std::uint8_t>(i % 2 * 255));
    indices.push_back(i);
  }
  const ChannelStatistics statistics = channel_statistics(dataset, indices);
  EXPECT_FLOAT_EQ(statistics.mean[1], 0.5f);
  EXPECT_FLOAT_EQ(statistics.std[1], 0.5f);
}

TEST(ChannelStatistics, RefuseNoImages) { EXPECT_THROW(channel_statistics(Dataset{}, {}), Error); }

}  // namespace
}  // namespace offramp::data
