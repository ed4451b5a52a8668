#include "data/corruption.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint64_t kSeed = 7;

image::Image flat(int side, std::uint8_t red, std::uint8_t green, std::uint8_t blue) {
  image::Image image = {side, side, {}};
  for (int i = 0; i < side * side; ++i)
    for (const std::uint8_t value : {red, green, blue}) image.rgb.push_back(value);
  return image;
}

image::Image corrupt(const image::Image& image, const std::string& how,
                     std::uint64_t seed = kSeed) {
  return data::corrupt(image, parse_corruption(how), seed);
}

struct Moments {
  double mean = 0, deviation = 0;
};
Moments moments(const image::Image& image) {
  double sum = 0, squares = 0;
  for (const double value : image.rgb) {
    sum += value;
    squares += value * value;
  }
  const auto n = static_cast<double>(image.rgb.size());
  return {sum / n, std::sqrt(squares / n - sum * sum / n / n)};
}

TEST(Corruption, AddsNoiseOfTheStatedDeviation) {
  const image::Image grey = flat(128, 128, 128, 128);
  const image::Image noisy = corrupt(grey, "gaussian_noise:3");
  const Moments seen = moments(noisy);  // of 49,152 values
  EXPECT_NEAR(seen.mean, 128, 5 * 0.08 * 255 / std::sqrt(49152.0));
  EXPECT_NEAR(seen.deviation, 0.08 * 255, 0.3);
  EXPECT_EQ(corrupt(grey, "gaussian_noise:3").rgb, noisy.rgb);
  EXPECT_NE(corrupt(grey, "gaussian_noise:3", kSeed + 1).rgb, noisy.rgb);
}

TEST(Corruption, BlursAPointIntoAGaussian) {
  image::Image point = flat(9, 0, 0, 0);
  point.rgb[(4 * 9 + 4) * 3 + 1] = 255;
  const image::Image blurred = corrupt(point, "gaussian_blur:5");
  // For σ = 1 the kernel is exp(-x² / 2) / 2.506626; the value at (x, y) is a product of two of
  // them.
  const auto green = [&](int x, int y) { return blurred.rgb[std::size_t(y * 9 + x) * 3 + 1]; };
  EXPECT_EQ(green(4, 4), 41);  // 255 · 0.15915
  EXPECT_EQ(green(5, 4), 25);  // 255 · 0.09653
  EXPECT_EQ(green(5, 5), 15);  // 255 · 0.05855
  EXPECT_EQ(green(6, 4), 5);   // 255 · 0.02154
  EXPECT_EQ(green(4, 7), 0);   // 255 · 0.00177
  EXPECT_EQ(blurred.rgb[(4 * 9 + 4) * 3], 0) << "red";
}

TEST(Corruption, KeepsWhatHasNoDetail) {
  const image::Image image = flat(8, 200, 30, 90);
  EXPECT_EQ(corrupt(image, "gaussian_blur:4").rgb, image.rgb);
  EXPECT_EQ(corrupt(image, "contrast:5").rgb, image.rgb);
}

TEST(Corruption, BrightensTheValueAndKeepsHueAndSaturation) {
  // The largest channel becomes 100 + 0.2 · 255 = 151; the others are scaled by the same factor.
  image::Image image = flat(1, 100, 50, 0);
  EXPECT_THAT(corrupt(image, "brightness:4").rgb, ElementsAre(151, 76, 0));
  image = flat(1, 250, 125, 0);
  EXPECT_THAT(corrupt(image, "brightness:4").rgb, ElementsAre(255, 128, 0));
  image = flat(1, 0, 0, 0);
  EXPECT_THAT(corrupt(image, "brightness:4").rgb, ElementsAre(51, 51, 51));
}

TEST(Corruption, TakesEachChannelTowardsItsMean) {
  image::Image image = {2, 1, {0, 100, 10, 200, 100, 30}};
  EXPECT_THAT(corrupt(image, "contrast:2").rgb, ElementsAre(50, 100, 15, 150, 100, 25));
}

TEST(Corruption, GrowsWithItsSeverity) {
  image::Image image = {16, 16, {}};
  for (int i = 0; i < 16 * 16 * 3; ++i)
    image.rgb.push_back(static_cast<std::uint8_t>((i * 37 + i * i) % 200));
  for (const std::string kind : {"gaussian_noise", "gaussian_blur", "brightness", "contrast"}) {
    double before = 0;
    for (const char severity : {'1', '2', '3', '4', '5'}) {
      const image::Image spoiled = corrupt(image, kind + ':' + severity);
      double distance = 0;
      for (std::size_t i = 0; i < image.rgb.size(); ++i)
        distance += std::abs(int{spoiled.rgb[i]} - int{image.rgb[i]});
      EXPECT_GT(distance, before) << kind << severity;
      before = distance;
    }
  }
}

TEST(Corruption, NamesAnUnknownCorruption) {
  const auto message = [](const std::string& text) {
    return test::message_of<UsageError>([&] { parse_corruption(text); });
  };
  EXPECT_THAT(message("fog:1"),
              HasSubstr("unknown corruption \"fog\"; expected one of gaussian_noise"));
  for (const std::string text :
       {"contrast", "contrast:", "contrast:0", "contrast:6", "contrast:33"})
    EXPECT_EQ(message(text), text + ": expected a severity from 1 to 5, as in \"contrast:3\"");
}

}  // namespace
}  // namespace offramp::data
