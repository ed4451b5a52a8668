#include "data/augment.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "image/image.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

using testing::HasSubstr;

core::Preprocessing sized(int height, int width) {
  core::Preprocessing preprocessing;
  preprocessing.height = height;
  preprocessing.width = width;
  return preprocessing;
}

// With this mean and standard deviation, normalising keeps values: (v / 255 - 0) / (1 / 255) = v up
// to rounding.
core::Preprocessing plain(int height, int width) {
  core::Preprocessing preprocessing = sized(height, width);
  preprocessing.mean = {0, 0, 0};
  preprocessing.std = {1 / 255.0f, 1 / 255.0f, 1 / 255.0f};
  return preprocessing;
}

std::vector<std::uint8_t> noise(int height, int width) {
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(height * width * 3));
  core::KeyedRandom random(3, 4);
  for (auto& value : rgb) value = static_cast<std::uint8_t>(random.below(256));
  return rgb;
}

std::vector<float> run(Augmenter& augmenter, const AugmentationDraw& draw,
                       const std::vector<std::uint8_t>& rgb) {
  std::vector<float> dst(rgb.size(), -99.0f);
  augmenter.apply(draw, rgb, dst);
  return dst;
}

std::string message(const core::Preprocessing& preprocessing, const Augmentation& augmentation) {
  return test::message_of<UsageError>([&] { Augmenter(preprocessing, augmentation, 1); });
}

TEST(Augmenter, WithoutChangesEqualsNormaliseBitForBit) {
  const core::Preprocessing preprocessing = sized(5, 7);
  const auto rgb = noise(5, 7);
  Augmenter augmenter(preprocessing, {}, 1);
  std::vector<float> dst(rgb.size());
  augmenter(rgb, 3, 4, dst);
  std::vector<float> planes(rgb.size());
  image::normalise(rgb, preprocessing, planes);
  for (std::size_t pixel = 0; pixel < 35; ++pixel) {
    for (std::size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(dst[pixel * 3 + c], planes[c * 35 + pixel]) << pixel << " " << c;
    }
  }
}

TEST(Augmenter, CropsAnywhereInTheBlackFrameAndFlips) {
  const int height = 5, width = 7, padding = 4;
  const core::Preprocessing preprocessing = sized(height, width);
  const auto rgb = noise(height, width);
  Augmenter augmenter(preprocessing, {.crop_padding = padding, .flip = true}, 1);
  for (int top = -padding; top <= padding; ++top) {
    for (int left = -padding; left <= padding; ++left) {
      for (const bool flip : {false, true}) {
        const auto dst = run(augmenter, {top, left, height, width, flip}, rgb);
        for (int y = 0; y < height; ++y) {
          for (int x = 0; x < width; ++x) {
            const int from_y = top + y, from_x = left + (flip ? width - 1 - x : x);
            const bool inside = from_y >= 0 && from_y < height && from_x >= 0 && from_x < width;
            for (int c = 0; c < 3; ++c) {
              const float value = inside ? rgb[(from_y * width + from_x) * 3 + c] : 0;
              ASSERT_EQ(dst[(y * width + x) * 3 + c],
                        (value / 255.0f - preprocessing.mean[c]) / preprocessing.std[c])
                  << "top " << top << " left " << left << " flip " << flip << " at " << y << ","
                  << x;
            }
          }
        }
      }
    }
  }
}

TEST(Augmenter, DrawsEveryCropOffsetAboutEquallyOften) {
  const Augmenter augmenter(sized(32, 32), {.crop_padding = 4, .flip = true}, 5);
  std::vector<int> seen(81);
  int flips = 0;
  const int draws = 81 * 100;
  for (int image = 0; image < draws; ++image) {
    const AugmentationDraw draw = augmenter.draw(2, static_cast<std::uint64_t>(image));
    ASSERT_TRUE(std::abs(draw.top) <= 4 && std::abs(draw.left) <= 4);
    ++seen[static_cast<std::size_t>((draw.top + 4) * 9 + draw.left + 4)];
    flips += draw.flip;
  }
  // Chi-square with 80 degrees of freedom exceeds 138 with probability 1/20,000. The draws are
  // fixed.
  double chi_square = 0;
  for (int count : seen) chi_square += (count - 100.0) * (count - 100.0) / 100.0;
  EXPECT_LT(chi_square, 138);
  EXPECT_NEAR(flips, draws / 2, 4 * std::sqrt(draws) / 2);
}

TEST(Augmenter, DrawsDependOnSeedEpochAndImageAlone) {
  const Augmentation augmentation{.crop_padding = 4, .flip = true, .cutout = 8};
  const Augmenter augmenter(sized(32, 32), augmentation, 5), other(sized(32, 32), augmentation, 6);
  int same_epoch = 0, same_seed = 0;
  for (std::uint64_t image = 0; image < 200; ++image) {
    EXPECT_EQ(augmenter.draw(1, image), augmenter.draw(1, image));
    same_epoch += augmenter.draw(1, image) == augmenter.draw(2, image);
    same_seed += augmenter.draw(1, image) == other.draw(1, image);
  }
  EXPECT_LT(same_epoch, 3);
  EXPECT_LT(same_seed, 3);
}

TEST(Augmenter, FlipsTheSameImagesWhateverElseIsOn) {
  const Augmenter flip(sized(32, 32), {.flip = true}, 5);
  const Augmenter more(sized(32, 32), {.flip = true, .cutout = 8, .resized_crop = 0.3f}, 5);
  for (std::uint64_t image = 0; image < 100; ++image) {
    EXPECT_EQ(flip.draw(7, image).flip, more.draw(7, image).flip);
  }
}

TEST(Augmenter, ShowsBothViewsOfEveryImageInAnyTwoEpochs) {
  const Augmenter augmenter(sized(32, 32), {.flip = true}, 5);
  int flipped_first = 0;
  for (std::uint64_t image = 0; image < 400; ++image) {
    flipped_first += augmenter.draw(0, image).flip;
    for (std::uint64_t epoch = 0; epoch < 5; ++epoch)
      EXPECT_NE(augmenter.draw(epoch, image).flip, augmenter.draw(epoch + 1, image).flip);
  }
  EXPECT_NEAR(flipped_first, 200, 40);  // four standard deviations
}

TEST(Augmenter, DrawsNothingWhereAllIsOff) {
  const Augmenter augmenter(sized(32, 48), {}, 5);
  for (std::uint64_t image = 0; image < 50; ++image) {
    EXPECT_EQ(augmenter.draw(7, image), (AugmentationDraw{.height = 32, .width = 48}));
  }
}

TEST(Augmenter, CutoutSetsTheSquareToTheMeanAndIsClippedAtTheBorder) {
  const std::vector<std::uint8_t> white(4 * 5 * 3, 255);
  Augmenter augmenter(sized(4, 5), {.cutout = 3}, 1);
  AugmentationDraw draw{.height = 4, .width = 5, .cutout_top = -1, .cutout_left = 3};
  const auto dst = run(augmenter, draw, white);
  for (int y = 0; y < 4; ++y) {
    for (int x = 0; x < 5; ++x) {
      const bool cut = y < 2 && x >= 3;
      EXPECT_EQ(dst[(y * 5 + x) * 3 + 1] == 0, cut) << y << "," << x;
    }
  }
}

TEST(Augmenter, CutoutCentresCoverTheWholeImage) {
  const Augmenter augmenter(sized(4, 6), {.cutout = 3}, 1);
  std::vector<int> seen(24);
  for (std::uint64_t image = 0; image < 2400; ++image) {
    const AugmentationDraw draw = augmenter.draw(0, image);
    const int row = draw.cutout_top + 1, column = draw.cutout_left + 1;
    ASSERT_TRUE(row >= 0 && row < 4 && column >= 0 && column < 6);
    ++seen[static_cast<std::size_t>(row * 6 + column)];
  }
  EXPECT_GT(*std::min_element(seen.begin(), seen.end()), 60);
}

TEST(Augmenter, ResizedCropsKeepTheirAreaAndRatio) {
  const Augmenter augmenter(sized(96, 64), {.resized_crop = 0.25f}, 1);
  double area = 0;
  float smallest = 1;
  for (std::uint64_t image = 0; image < 4000; ++image) {
    const AugmentationDraw draw = augmenter.draw(0, image);
    ASSERT_TRUE(draw.top >= 0 && draw.left >= 0 && draw.height >= 1 && draw.width >= 1);
    ASSERT_LE(draw.top + draw.height, 96);
    ASSERT_LE(draw.left + draw.width, 64);
    const float share = static_cast<float>(draw.height * draw.width) / (96.0f * 64.0f);
    // Sides are rounded to whole pixels.
    ASSERT_GE(share, 0.25f - 0.01f);
    const float ratio = static_cast<float>(draw.width) / static_cast<float>(draw.height);
    ASSERT_GE(ratio, 0.75f - 0.03f);
    ASSERT_LE(ratio, 4.0f / 3.0f + 0.03f);
    area += share;
    smallest = std::min(smallest, share);
  }
  EXPECT_LT(smallest, 0.27f);
  EXPECT_GT(area / 4000, 0.4);
}

TEST(Augmenter, ResizedCropFallsBackToTheMiddleWhereNoBoxFits) {
  // An image this long contains no box of the drawn area with a ratio of at most 4/3.
  const Augmenter augmenter(sized(8, 400), {.resized_crop = 1.0f}, 1);
  EXPECT_EQ(augmenter.draw(0, 0),
            (AugmentationDraw{.top = 0, .left = 195, .height = 8, .width = 10}));
}

TEST(Augmenter, EnlargesBilinearlyBetweenPixelCentres) {
  // A box of 1x2 pixels is enlarged to a width of 4: the pixel centres lie at -0.25, 0.25, 0.75 and
  // 1.25 in the box and are clamped to it, so pixels outside the box have no influence.
  std::vector<std::uint8_t> rgb(4 * 4 * 3, 255);
  for (int c = 0; c < 3; ++c) {
    rgb[(1 * 4 + 1) * 3 + c] = static_cast<std::uint8_t>(100 + c);
    rgb[(1 * 4 + 2) * 3 + c] = static_cast<std::uint8_t>(20 + c);
  }
  Augmenter augmenter(plain(4, 4), {.flip = true, .resized_crop = 0.1f}, 1);
  const float expected[] = {100, 80, 40, 20};
  for (const bool flip : {false, true}) {
    const auto dst = run(augmenter, {1, 1, 1, 2, flip}, rgb);
    for (int y = 0; y < 4; ++y) {
      for (int x = 0; x < 4; ++x) {
        for (int c = 0; c < 3; ++c) {
          EXPECT_NEAR(dst[(y * 4 + x) * 3 + c], expected[flip ? 3 - x : x] + static_cast<float>(c),
                      1e-3);
        }
      }
    }
  }
}

TEST(Augmenter, EnlargesBothWaysAsPyTorchDoes) {
  // torch.nn.functional.interpolate(x[None, None, 1:4, 0:2], size=(4, 4), mode='bilinear',
  // align_corners=False) of x = arange(16).reshape(4, 4)**2.
  std::vector<std::uint8_t> rgb(4 * 4 * 3);
  for (int i = 0; i < 16; ++i) {
    for (int c = 0; c < 3; ++c) rgb[i * 3 + c] = static_cast<std::uint8_t>(i * i);
  }
  Augmenter augmenter(plain(4, 4), {.resized_crop = 0.1f}, 1);
  const auto dst = run(augmenter, {1, 0, 3, 2, false}, rgb);
  const float expected[] = {16, 18.25, 22.75, 25,  46,  49.5,   56.5,   60,
                            94, 99,    109,   114, 144, 150.25, 162.75, 169};
  for (int i = 0; i < 16; ++i) EXPECT_NEAR(dst[i * 3], expected[i], 1e-3) << i;
}

TEST(Augmenter, SaysWhichSettingIsWrong) {
  EXPECT_THAT(message(sized(32, 32), {.crop_padding = 4, .resized_crop = 0.5f}),
              HasSubstr("resized_crop and crop_padding exclude each other: got 0.5 and 4"));
  EXPECT_THAT(message(sized(32, 40), {.crop_padding = 32}),
              HasSubstr("crop_padding must be from 0 to below the image's side: got 32"));
  EXPECT_THAT(message(sized(32, 32), {.crop_padding = -1}), HasSubstr("got -1"));
  EXPECT_THAT(message(sized(32, 32), {.cutout = -2}),
              HasSubstr("cutout must be 0 or more: got -2"));
  EXPECT_THAT(message(sized(32, 32), {.resized_crop = 1.5f}),
              HasSubstr("resized_crop must be from 0 to 1: got 1.5"));
  EXPECT_THAT(message(sized(32, 32), {.resized_crop = std::nanf("")}),
              HasSubstr("resized_crop must be from 0 to 1"));
  EXPECT_THAT(message(sized(0, 32), {}), HasSubstr("must have a size: got 0x32"));
  core::Preprocessing flat = sized(32, 32);
  flat.std[1] = 0;
  EXPECT_THAT(message(flat, {}), HasSubstr("std must be above 0: got 0"));
}

}  // namespace
}  // namespace offramp::data
