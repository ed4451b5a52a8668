#include <gtest/gtest.h>
#include <png.h>

#include <array>

#include "image/codec.h"
#include "tests/support/image_files.h"

namespace offramp::image {
namespace {

using test::exif_block;

enum Corner { TL, TR, BL, BR };

constexpr std::array<std::array<std::uint8_t, 3>, 4> kColours = {
    {{230, 20, 20}, {20, 200, 20}, {20, 20, 230}, {250, 250, 250}}};

// For each orientation, the corners of the upright image that are stored at TL, TR, BL and BR. They
// follow from the EXIF standard, which defines the meaning of row 0 and column 0: for orientation
// 6, row 0 is the right-hand side of the image and column 0 is its top.
constexpr std::array<std::array<Corner, 4>, 8> kStored = {{{TL, TR, BL, BR},
                                                           {TR, TL, BR, BL},
                                                           {BR, BL, TR, TL},
                                                           {BL, BR, TL, TR},
                                                           {TL, BL, TR, BR},
                                                           {TR, BR, TL, BL},
                                                           {BR, TR, BL, TL},
                                                           {BL, TL, BR, TR}}};

Image stored_image(int orientation) {
  Image image;
  image.width = orientation >= 5 ? 16 : 32;
  image.height = orientation >= 5 ? 32 : 16;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const int corner = (y < image.height / 2 ? 0 : 2) + (x < image.width / 2 ? 0 : 1);
      const auto& colour = kColours[kStored[static_cast<std::size_t>(orientation - 1)]
                                           [static_cast<std::size_t>(corner)]];
      image.rgb.insert(image.rgb.end(), colour.begin(), colour.end());
    }
  }
  return image;
}

void expect_upright(const Image& image, int orientation, int tolerance) {
  ASSERT_EQ(image.width, 32);
  ASSERT_EQ(image.height, 16);
  for (int corner = 0; corner < 4; ++corner) {
    const int x = corner % 2 == 0 ? 3 : 28;
    const int y = corner / 2 == 0 ? 2 : 13;
    for (int c = 0; c < 3; ++c) {
      EXPECT_NEAR(image.rgb[static_cast<std::size_t>((y * 32 + x) * 3 + c)],
                  kColours[static_cast<std::size_t>(corner)][static_cast<std::size_t>(c)],
                  tolerance)
          << "orientation " << orientation << ", corner " << corner << ", channel " << c;
    }
  }
}

TEST(Orientation, TurnsJpegsOfAllEightUpright) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool big_endian : {false, true}) {
      test::JpegOptions options;
      options.orientation = orientation;
      options.big_endian = big_endian;
      const auto bytes = test::encode_jpeg(stored_image(orientation), options);
      expect_upright(decode_image(bytes), orientation, 4);
    }
  }
}

TEST(Orientation, TurnsPngsUprightToo) {
  const Image stored = stored_image(6);
  const test::PngFile file{stored.width, stored.height,       PNG_COLOR_TYPE_RGB, 8, false, {}, {},
                           {},           exif_block(6, true), stored.rgb};
  expect_upright(decode_image(test::encode(file)), 6, 0);
}

TEST(Orientation, MovesEveryPixelOnce) {
  // 3 x 2 pixels numbered 0 to 5 in the red channel.
  Image image{3, 2, {}};
  for (int i = 0; i < 6; ++i)
    image.rgb.insert(image.rgb.end(), {static_cast<std::uint8_t>(i), 0, 0});
  const auto numbers = [&](int orientation) {
    std::string text;
    const Image turned = detail::upright(image, orientation);
    for (std::size_t i = 0; i < turned.rgb.size(); i += 3) text += std::to_string(turned.rgb[i]);
    return text;
  };
  EXPECT_EQ(numbers(1), "012345");
  EXPECT_EQ(numbers(2), "210543");
  EXPECT_EQ(numbers(3), "543210");
  EXPECT_EQ(numbers(4), "345012");
  EXPECT_EQ(numbers(5), "031425");
  EXPECT_EQ(numbers(6), "304152");
  EXPECT_EQ(numbers(7), "524130");
  EXPECT_EQ(numbers(8), "251403");
}

TEST(Orientation, IgnoresInvalidBlocks) {
  const auto orientation = [](const std::vector<std::uint8_t>& block) {
    return detail::exif_orientation(std::as_bytes(std::span(block)));
  };
  const auto good = exif_block(6, false);
  ASSERT_EQ(orientation(good), 6);
  EXPECT_EQ(orientation(exif_block(0, false)), 1);
  EXPECT_EQ(orientation(exif_block(9, true)), 1);
  for (std::size_t size = 0; size < 34; ++size) {
    EXPECT_EQ(orientation({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}), 1)
        << size;
  }
  auto bad = good;
  bad[0] = 'X';
  EXPECT_EQ(orientation(bad), 1);
  bad = good;
  bad[4] = bad[5] = bad[6] = bad[7] = 0xff;  // the directory lies beyond the end
  EXPECT_EQ(orientation(bad), 1);
  bad = good;
  bad[24] = 4;  // not a short
  EXPECT_EQ(orientation(bad), 1);
  bad = good;
  bad[8] = bad[9] = 0xff;  // 65535 entries; ours is among the first
  EXPECT_EQ(orientation(bad), 6);
}

}  // namespace
}  // namespace offramp::image
