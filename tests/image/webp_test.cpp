#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "image/image.h"
#include "image/signature.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::image {
namespace {

using test::stored_image;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

void expect_golden(const std::string& name, int tolerance = 0) {
  const Image image = decode_image(stored_image(name));
  const Image golden = decode_image(stored_image(name + ".png"));
  ASSERT_EQ(image.width, golden.width) << name;
  ASSERT_EQ(image.height, golden.height) << name;
  ASSERT_EQ(image.rgb.size(), golden.rgb.size()) << name;
  for (std::size_t i = 0; i < image.rgb.size(); ++i)
    ASSERT_NEAR(image.rgb[i], golden.rgb[i], tolerance) << name << ", value " << i;
}

std::string failure(std::span<const std::byte> bytes, const DecodeLimits& limits = {}) {
  return test::message_of([&] { decode_image(bytes, limits); });
}

/// Rewrites the size in a lossless file: 14 bits for each side after the signature byte 0x2f.
std::vector<std::byte> claiming(std::vector<std::byte> bytes, std::uint32_t width,
                                std::uint32_t height) {
  constexpr std::size_t kSize = 21;
  EXPECT_EQ(bytes.at(kSize - 1), std::byte{0x2f});
  std::uint32_t bits = 0;
  std::memcpy(&bits, bytes.data() + kSize, sizeof bits);
  bits = (bits & 0xf0000000u) | (width - 1) | (height - 1) << 14;
  std::memcpy(bytes.data() + kSize, &bits, sizeof bits);
  return bytes;
}

TEST(DecodeWebp, GivesThePixelsOfOtherDecoders) {
  expect_golden("lossless.webp");
  // Versions of libwebp may round the conversion to RGB differently.
  expect_golden("lossy.webp", 1);
}

TEST(DecodeWebp, BlendsTransparentPixelsWithWhite) { expect_golden("alpha.webp", 1); }

TEST(DecodeWebp, TurnsAsItsExifSays) { expect_golden("turned.webp"); }

TEST(DecodeWebp, ReadsTheFirstFrameOfAnAnimation) { expect_golden("animated.webp"); }

TEST(DecodeWebp, RefusesEveryTruncatedFile) {
  for (const char* name : {"lossless.webp", "lossy.webp", "alpha.webp", "animated.webp"}) {
    const auto bytes = stored_image(name);
    for (std::size_t length = 12; length < bytes.size(); ++length)
      EXPECT_THAT(failure(std::span(bytes).first(length)), StartsWith("truncated: "))
          << name << " at " << length;
  }
}

TEST(DecodeWebp, RefusesALargeImageBeforeItIsAllocated) {
  EXPECT_EQ(failure(claiming(stored_image("lossless.webp"), 16384, 16384)),
            "larger than the limit: 16384x16384, at most 134217728 pixels");
  const auto bytes = stored_image("lossless.webp");
  EXPECT_EQ(failure(bytes, {.max_pixels = 13 * 9}), "no error");
  EXPECT_EQ(failure(bytes, {.max_pixels = 13 * 9 - 1}),
            "larger than the limit: 13x9, at most 116 pixels");
}

TEST(DecodeWebp, RefusesPixelsThatAreNotThere) {
  EXPECT_THAT(failure(claiming(stored_image("lossless.webp"), 3000, 2000)),
              AnyOf(StartsWith("truncated: "), StartsWith("damaged: ")));
}

TEST(DecodeWebp, SurvivesEveryByteInverted) {
  for (const char* name : {"lossless.webp", "lossy.webp", "alpha.webp", "animated.webp"}) {
    auto bytes = stored_image(name);
    for (std::byte& changed : bytes) {
      changed = ~changed;
      const std::string message = failure(bytes, {.max_pixels = 1 << 16});
      EXPECT_EQ(message.find('\n'), message.npos);
      changed = ~changed;
    }
  }
}

TEST(Signature, NamesOfWebpAndBmpFilesCount) {
  for (const char* name :
       {"a.webp", "a.WebP", "b.bmp", "b.BMP", "c.jpg", "c.JPEG", "d.png", ".bmp"})
    EXPECT_TRUE(has_image_extension(name)) << name;
  for (const char* name : {"", "a", "webp", "a.webpx", "a.gif", "a.tiff", "bmp"})
    EXPECT_FALSE(has_image_extension(name)) << name;
}

TEST(Signature, FirstBytesAreEnough) {
  for (const char* name : {"lossy.webp", "lossless.webp", "rgb24.bmp", "v5_rgb24.bmp"}) {
    const auto bytes = stored_image(name);
    EXPECT_TRUE(has_image_signature(std::span(bytes).first(kSignatureBytes))) << name;
  }
  // Paths may begin with the letters of a signature.
  for (const char* text : {"BM", "BMW.jpg\nBMW in the rain.jpg\n", "RIFF.png\nWEBP.png\n"})
    EXPECT_FALSE(has_image_signature(test::bytes_of(text))) << text;
}

}  // namespace
}  // namespace offramp::image
