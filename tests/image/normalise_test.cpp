#include <gtest/gtest.h>

#include "image/image.h"

namespace offramp::image {
namespace {

TEST(ToInput, PutsEachChannelInAPlaneOfItsOwnAndNormalisesIt) {
  core::Preprocessing preprocessing;
  preprocessing.width = 2;
  preprocessing.height = 1;
  preprocessing.mean = {0.5f, 0.0f, 0.2f};
  preprocessing.std = {0.5f, 1.0f, 0.4f};
  const Image image{2, 1, {255, 0, 51, 0, 255, 102}};
  std::vector<float> dst(6);
  to_input(image, preprocessing, dst);
  const std::vector<float> expected = {1, -1, 0, 1, 0, 0.5f};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(dst[i], expected[i], 1e-6f) << i;
}

TEST(ToInput, ResizesAsThePreprocessingSays) {
  core::Preprocessing preprocessing;
  preprocessing.width = preprocessing.height = 1;
  preprocessing.mean = {0, 0, 0};
  preprocessing.std = {1, 1, 1};
  // The image has three columns with red 0, 51 and 255. Squeezing mixes them; cropping keeps the
  // middle one.
  const Image image{3, 1, {0, 0, 0, 51, 0, 0, 255, 0, 0}};
  std::vector<float> dst(3);
  preprocessing.fit = core::Fit::crop;
  to_input(image, preprocessing, dst);
  EXPECT_FLOAT_EQ(dst[0], 0.2f);
  preprocessing.fit = core::Fit::squeeze;
  to_input(image, preprocessing, dst);
  // The weights are 2/3, 1 and 2/3, divided by 7/3: (51 + 170) * 3/7 = 94.7.
  EXPECT_NEAR(dst[0], 95.0f / 255, 1e-6f);
}

}  // namespace
}  // namespace offramp::image
