#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "image/image.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::image {
namespace {

using test::stored_image;
using ::testing::StartsWith;

std::string failure(std::span<const std::byte> bytes, const DecodeLimits& limits = {}) {
  return test::message_of([&] { decode_image(bytes, limits); });
}

template <typename T>
std::vector<std::byte> with(std::vector<std::byte> bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
  return bytes;
}

TEST(DecodeBmp, GivesThePixelsOfOtherDecoders) {
  for (const char* name : {"rgb24.bmp", "rgb32.bmp", "gray8.bmp", "palette8.bmp", "v5_rgb24.bmp",
                           "v5_masks32.bmp", "top_down.bmp"}) {
    const Image image = decode_image(stored_image(name));
    const Image golden = decode_image(stored_image(std::string(name) + ".png"));
    EXPECT_EQ(image.width, golden.width) << name;
    EXPECT_EQ(image.height, golden.height) << name;
    EXPECT_EQ(image.rgb, golden.rgb) << name;
  }
}

// The header of OS/2: 12 bytes, of which the sizes have 16 bits each.
TEST(DecodeBmp, ReadsTheOldestHeader) {
  const auto bytes = stored_image("rgb24.bmp");
  std::vector<std::byte> old(bytes.begin(), bytes.begin() + 26);
  old = with(old, 10, std::uint32_t{26});
  old = with(old, 14, std::uint32_t{12});
  old = with(old, 18, std::uint16_t{13});
  old = with(old, 20, std::uint16_t{9});
  old = with(old, 22, std::uint16_t{1});
  old = with(old, 24, std::uint16_t{24});
  old.insert(old.end(), bytes.begin() + 54, bytes.end());
  EXPECT_EQ(decode_image(old).rgb, decode_image(bytes).rgb);
}

TEST(DecodeBmp, RefusesEveryTruncatedFile) {
  for (const char* name : {"rgb24.bmp", "palette8.bmp", "v5_masks32.bmp"}) {
    const auto bytes = stored_image(name);
    for (std::size_t length = 18; length < bytes.size(); ++length)
      EXPECT_THAT(failure(std::span(bytes).first(length)), StartsWith("truncated: "))
          << name << " at " << length;
  }
}

TEST(DecodeBmp, RefusesALargeImageBeforeItIsAllocated) {
  auto bytes = with(stored_image("rgb24.bmp"), 18, std::int32_t{60000});
  bytes = with(bytes, 22, std::int32_t{60000});
  EXPECT_EQ(failure(bytes), "larger than the limit: 60000x60000, at most 134217728 pixels");
  bytes = with(bytes, 22, std::int32_t{2000});
  EXPECT_EQ(failure(bytes), "truncated: 414 bytes are too few for 60000x2000 pixels");
  EXPECT_EQ(failure(stored_image("rgb24.bmp"), {.max_pixels = 13 * 9 - 1}),
            "larger than the limit: 13x9, at most 116 pixels");
}

TEST(DecodeBmp, RefusesInvalidSizes) {
  const auto bytes = stored_image("rgb24.bmp");
  EXPECT_EQ(failure(with(bytes, 18, std::int32_t{0})), "damaged: the image is 0x9");
  EXPECT_EQ(failure(with(bytes, 18, std::int32_t{-13})), "damaged: the image is -13x9");
  EXPECT_EQ(failure(with(bytes, 22, std::int32_t{0})), "damaged: the image is 13x0");
  EXPECT_THAT(failure(with(bytes, 22, INT32_MIN)),
              StartsWith("larger than the limit: 13x2147483648"));
}

TEST(DecodeBmp, SaysWhichKindsAreNotSupported) {
  EXPECT_EQ(failure(stored_image("bits.bmp")),
            "not supported: a BMP file of 1 bits per pixel and compression 0; 8, 24 and 32 bits "
            "without compression are supported");
  // Run lengths; and masks in another order.
  EXPECT_THAT(failure(with(stored_image("gray8.bmp"), 30, std::uint32_t{1})),
              StartsWith("not supported: "));
  EXPECT_THAT(failure(with(stored_image("v5_masks32.bmp"), 54, std::uint32_t{0xff})),
              StartsWith("not supported: "));
}

TEST(DecodeBmp, RefusesAPixelBeyondThePalette) {
  const auto bytes = with(stored_image("gray8.bmp"), 46, std::uint32_t{10});
  EXPECT_THAT(failure(bytes), StartsWith("damaged: "));
  EXPECT_THAT(failure(with(bytes, 46, std::uint32_t{100'000})), StartsWith("damaged: "));
}

TEST(DecodeBmp, RefusesPixelsInsideTheHeader) {
  EXPECT_EQ(failure(with(stored_image("rgb24.bmp"), 10, std::uint32_t{20})),
            "damaged: the BMP's pixels begin inside its header");
  EXPECT_THAT(failure(with(stored_image("rgb24.bmp"), 10, UINT32_MAX)), StartsWith("truncated: "));
}

TEST(DecodeBmp, SurvivesEveryByteInverted) {
  for (const char* name : {"rgb24.bmp", "palette8.bmp", "v5_masks32.bmp"}) {
    auto bytes = stored_image(name);
    for (std::byte& changed : bytes) {
      changed = ~changed;
      const std::string message = failure(bytes, {.max_pixels = 1 << 16});
      EXPECT_EQ(message.find('\n'), message.npos);
      changed = ~changed;
    }
  }
}

}  // namespace
}  // namespace offramp::image
