#include <gtest/gtest.h>

#include "image/image.h"

namespace offramp::image {
namespace {

Image formula_image(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        image.rgb.push_back(
            static_cast<std::uint8_t>((x * 37 + y * 91 + c * 53 + (x * y * 11) % 83) % 256));
      }
    }
  }
  return image;
}

struct Golden {
  int width, height, new_width, new_height;
  std::vector<int> pil;
  std::vector<float> torch;
};

// Results for formula_image, computed with PIL 9.4 Image.resize(size, BILINEAR) and torch 1.13
// nn.functional.interpolate(float, size, mode="bilinear", antialias=True).
const std::vector<Golden> kGoldens = {
    Golden{
        7,
        5,
        3,
        2,
        {108, 136, 143, 129, 133, 154, 130, 152, 149, 129, 157, 112, 113, 133, 135, 86, 116, 149},
        {108.039f, 136.104f, 143.390f, 128.906f, 132.623f, 153.452f, 130.185f, 151.601f, 148.912f,
         128.692f, 156.756f, 111.679f, 112.840f, 132.984f, 134.647f, 86.065f, 116.623f, 148.844f}},
    Golden{
        4,
        4,
        7,
        6,
        {0,   53,  106, 13,  66,  119, 34,  87,  140, 56,  109, 162, 77,  130, 183, 98,  151, 204,
         111, 164, 217, 46,  99,  152, 61,  114, 167, 85,  138, 191, 110, 163, 152, 134, 178, 112,
         158, 129, 136, 173, 98,  151, 106, 159, 169, 124, 162, 187, 153, 166, 216, 160, 191, 138,
         166, 204, 59,  195, 111, 88,  213, 53,  106, 167, 220, 60,  187, 164, 80,  220, 75,  113,
         146, 93,  124, 72,  122, 135, 105, 130, 168, 125, 135, 188, 100, 153, 78,  123, 130, 101,
         160, 94,  138, 133, 122, 111, 102, 155, 89,  116, 169, 176, 124, 177, 230, 17,  70,  123,
         42,  95,  148, 82,  135, 188, 122, 175, 100, 156, 209, 24,  149, 202, 163, 144, 197, 250},
        {0.000f,   53.000f,  106.000f, 13.214f,  66.214f,  119.214f, 34.357f,  87.357f,  140.357f,
         55.500f,  108.500f, 161.500f, 76.643f,  129.643f, 182.643f, 97.786f,  150.786f, 203.786f,
         111.000f, 164.000f, 217.000f, 45.500f,  98.500f,  151.500f, 60.679f,  113.679f, 166.679f,
         84.964f,  137.964f, 190.964f, 109.250f, 162.250f, 151.250f, 133.536f, 177.393f, 111.536f,
         157.821f, 128.536f, 135.821f, 173.000f, 98.000f,  151.000f, 106.167f, 159.167f, 169.500f,
         123.964f, 161.726f, 187.298f, 152.440f, 165.821f, 215.774f, 159.583f, 191.250f, 137.583f,
         166.726f, 204.488f, 59.393f,  195.202f, 111.060f, 87.869f,  213.000f, 52.667f,  105.667f,
         166.833f, 219.833f, 59.500f,  187.250f, 164.060f, 79.917f,  219.917f, 74.821f,  112.583f,
         145.917f, 92.250f,  123.917f, 71.917f,  121.869f, 135.250f, 104.583f, 130.155f, 167.917f,
         125.000f, 135.333f, 188.333f, 99.500f,  152.500f, 77.500f,  122.536f, 129.821f, 100.536f,
         159.393f, 93.536f,  137.393f, 132.250f, 121.250f, 110.250f, 102.143f, 155.143f, 89.286f,
         115.286f, 168.286f, 175.571f, 123.500f, 176.500f, 229.500f, 17.000f,  70.000f,  123.000f,
         42.000f,  95.000f,  148.000f, 82.000f,  135.000f, 188.000f, 122.000f, 175.000f, 100.000f,
         156.071f, 209.071f, 24.357f,  148.643f, 201.643f, 163.214f, 144.000f, 197.000f, 250.000f}},
    Golden{
        9,
        3,
        4,
        5,
        {31,  84,  137, 106, 159, 205, 172, 156, 103, 61,  62,  115, 71,  124, 157,
         130, 140, 162, 138, 148, 129, 96,  118, 127, 131, 184, 186, 166, 112, 97,
         88,  135, 169, 148, 201, 145, 160, 147, 123, 122, 121, 147, 113, 164, 168,
         135, 130, 109, 180, 123, 81,  93,  127, 180, 130, 183, 167, 126, 83,  85},
        {30.657f,  83.657f,  136.657f, 105.585f, 158.585f, 205.341f, 171.683f, 156.000f, 102.854f,
         60.543f,  62.343f,  115.343f, 70.703f,  123.703f, 156.223f, 129.566f, 140.107f, 161.888f,
         138.317f, 147.610f, 129.429f, 95.686f,  117.966f, 127.080f, 130.771f, 183.771f, 185.571f,
         165.537f, 112.390f, 96.707f,  88.268f,  135.024f, 169.293f, 148.400f, 201.400f, 144.686f,
         160.120f, 147.291f, 122.760f, 121.927f, 121.229f, 146.756f, 113.263f, 163.766f, 168.063f,
         134.703f, 130.651f, 109.046f, 179.686f, 122.971f, 80.886f,  92.854f,  127.122f, 180.122f,
         129.927f, 182.927f, 167.244f, 125.571f, 83.486f,  85.286f}},
    Golden{50,
           31,
           2,
           2,
           {125, 130, 127, 130, 126, 125, 129, 127, 125, 126, 129, 127},
           {125.147f, 129.696f, 126.781f, 129.929f, 126.038f, 124.576f, 129.135f, 127.353f,
            125.426f, 126.496f, 128.850f, 127.162f}}};

TEST(Resize, EqualsPilToTheBit) {
  for (const Golden& golden : kGoldens) {
    const Image image = resize(formula_image(golden.width, golden.height), golden.new_width,
                               golden.new_height, core::Fit::squeeze);
    EXPECT_EQ(std::vector<int>(image.rgb.begin(), image.rgb.end()), golden.pil);
  }
}

// Each of the two passes rounds to whole values, with an error of at most 1/2.
TEST(Resize, EqualsTorchUpToRounding) {
  for (const Golden& golden : kGoldens) {
    const Image image = resize(formula_image(golden.width, golden.height), golden.new_width,
                               golden.new_height, core::Fit::squeeze);
    ASSERT_EQ(image.rgb.size(), golden.torch.size());
    for (std::size_t i = 0; i < golden.torch.size(); ++i) {
      EXPECT_NEAR(image.rgb[i], golden.torch[i], 1.0f) << "value " << i;
    }
  }
}

TEST(Resize, LeavesAnImageOfTheRightSizeAlone) {
  const Image image = formula_image(5, 4);
  EXPECT_EQ(resize(image, 5, 4, core::Fit::squeeze).rgb, image.rgb);
  EXPECT_EQ(resize(image, 5, 4, core::Fit::crop).rgb, image.rgb);
}

TEST(Resize, CutsTheMiddleOutWhenTheAspectIsKept) {
  // The shorter side already fits: columns 2 to 5 of 8 are kept as they are.
  const Image wide = formula_image(8, 4);
  const Image cut = resize(wide, 4, 4, core::Fit::crop);
  ASSERT_EQ(cut.width, 4);
  for (int y = 0; y < 4; ++y) {
    for (int i = 0; i < 12; ++i) {
      EXPECT_EQ(cut.rgb[static_cast<std::size_t>(y * 12 + i)],
                wide.rgb[static_cast<std::size_t>(y * 24 + 6 + i)]);
    }
  }
}

TEST(Resize, CropsToTheWindowOfTheWholeImageResized) {
  const Image tall = formula_image(6, 20);
  const Image whole = resize(tall, 3, 10, core::Fit::squeeze);
  const Image cut = resize(tall, 3, 4, core::Fit::crop);  // rows 3 to 6 of 10
  EXPECT_EQ(cut.rgb, std::vector<std::uint8_t>(whole.rgb.begin() + 27, whole.rgb.begin() + 63));
}

TEST(Resize, EnlargesASinglePixelAndShrinksALongStrip) {
  const Image pixel{1, 1, {9, 99, 199}};
  const Image large = resize(pixel, 3, 2, core::Fit::squeeze);
  for (std::size_t i = 0; i < large.rgb.size(); ++i) EXPECT_EQ(large.rgb[i], pixel.rgb[i % 3]);
  const std::vector<std::uint8_t> gray(65535 * 3, 42);
  for (const Image& strip : {Image{65535, 1, gray}, Image{1, 65535, gray}}) {
    for (const core::Fit fit : {core::Fit::squeeze, core::Fit::crop}) {
      const Image small = resize(strip, 32, 32, fit);
      EXPECT_EQ(small.rgb, std::vector<std::uint8_t>(32 * 32 * 3, 42));
    }
  }
}

// The width of the whole enlarged image would exceed an int; only its middle pixel is kept.
TEST(Resize, CropsTheMiddleOfALongStripHoweverMuchItGrows) {
  Image strip{65535, 1, std::vector<std::uint8_t>(65535 * 3, 0)};
  for (std::size_t i = 0; i < 3; ++i) strip.rgb[3 * 32767 + i] = 255;
  const Image middle = resize(strip, 1, 32800, core::Fit::crop);
  EXPECT_EQ(middle.rgb, std::vector<std::uint8_t>(32800 * 3, 255));
}

}  // namespace
}  // namespace offramp::image
