#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "image/image.h"
#include "tests/support/image_files.h"

namespace offramp::image {
namespace {

using test::encode_jpeg;
using test::flat_image;
using test::JpegColour;
using test::JpegOptions;
using test::patterned_image;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string failure(std::span<const std::byte> bytes, const DecodeLimits& limits = {}) {
  try {
    decode_image(bytes, limits);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_flat(const Image& image, int red, int green, int blue, int tolerance) {
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) {
    ASSERT_NEAR(image.rgb[i], red, tolerance) << "pixel " << i / 3;
    ASSERT_NEAR(image.rgb[i + 1], green, tolerance) << "pixel " << i / 3;
    ASSERT_NEAR(image.rgb[i + 2], blue, tolerance) << "pixel " << i / 3;
  }
}

TEST(DecodeJpeg, GivesThePixelsRowByRow) {
  const Image original = patterned_image(21, 13, 1);
  const Image image = decode_image(encode_jpeg(flat_image(21, 13, 200, 100, 50)));
  EXPECT_EQ(image.width, 21);
  EXPECT_EQ(image.height, 13);
  ASSERT_EQ(image.rgb.size(), original.rgb.size());
  expect_flat(image, 200, 100, 50, 2);
}

TEST(DecodeJpeg, ReadsProgressiveFilesAsBaselineOnes) {
  const Image original = patterned_image(21, 13, 2);
  JpegOptions progressive;
  progressive.progressive = true;
  EXPECT_EQ(decode_image(encode_jpeg(original)).rgb,
            decode_image(encode_jpeg(original, progressive)).rgb);
}

TEST(DecodeJpeg, SpreadsGrayOverThreeChannels) {
  const std::vector<std::uint8_t> samples(8 * 8, 77);
  JpegOptions gray;
  gray.colour = JpegColour::gray;
  expect_flat(decode_image(encode_jpeg(8, 8, samples, gray)), 77, 77, 77, 1);
}

// The stored values are 200, 100, 50 and 128, so the colour is 200·128/255, 100·128/255,
// 50·128/255.
TEST(DecodeJpeg, ReadsAdobesCmykAsInverted) {
  std::vector<std::uint8_t> samples;
  for (int i = 0; i < 64; ++i) samples.insert(samples.end(), {200, 100, 50, 128});
  JpegOptions options;
  options.colour = JpegColour::cmyk;
  expect_flat(decode_image(encode_jpeg(8, 8, samples, options)), 100, 50, 25, 2);
  options.colour = JpegColour::ycck;
  expect_flat(decode_image(encode_jpeg(8, 8, samples, options)), 100, 50, 25, 2);
}

TEST(DecodeJpeg, ReadsCmykWithoutAdobesMarkerAsInk) {
  std::vector<std::uint8_t> samples;
  for (int i = 0; i < 64; ++i) samples.insert(samples.end(), {55, 155, 205, 127});
  JpegOptions options;
  options.colour = JpegColour::cmyk;
  options.adobe_marker = false;
  expect_flat(decode_image(encode_jpeg(8, 8, samples, options)), 100, 50, 25, 2);
}

TEST(DecodeJpeg, RefusesAFileCutAnywhere) {
  for (const bool progressive : {false, true}) {
    JpegOptions options;
    options.progressive = progressive;
    const auto bytes = encode_jpeg(patterned_image(24, 16, 3), options);
    for (std::size_t size = 3; size < bytes.size(); ++size) {
      const std::string message = failure(std::span(bytes).first(size));
      EXPECT_TRUE(message.starts_with("truncated: ") || message.starts_with("damaged: "))
          << size << " of " << bytes.size() << " bytes: " << message;
    }
    EXPECT_THAT(failure(std::span(bytes).first(bytes.size() - 40)),
                StartsWith("truncated: Premature end of JPEG file"));
  }
}

TEST(DecodeJpeg, SurvivesAnyChangedByte) {
  const auto bytes = encode_jpeg(patterned_image(24, 16, 4));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const int value : {0x00, 0xff, 0x80}) {
      auto changed = bytes;
      changed[i] = std::byte(value);
      failure(changed, {1 << 20});
    }
  }
}

/// Returns the offset of the first marker of a kind at or after `from`; kind 0 means any marker.
std::size_t find_marker(std::span<const std::byte> bytes, std::size_t from, int kind) {
  for (std::size_t i = from; i + 1 < bytes.size(); ++i) {
    const int next = std::to_integer<int>(bytes[i + 1]);
    if (bytes[i] == std::byte(0xff) && next != 0 && (kind == 0 || next == kind)) return i;
  }
  return bytes.size();
}

TEST(DecodeJpeg, RefusesMoreScansThanAnEncoderWrites) {
  JpegOptions options;
  options.progressive = true;
  const auto original = encode_jpeg(patterned_image(24, 16, 5), options);
  int scans = 0;
  for (std::size_t i = 0; i < original.size(); i = find_marker(original, i + 1, 0xda)) ++scans;
  --scans;  // the start was counted
  ASSERT_GT(scans, 1);
  const std::size_t begin = find_marker(original, 0, 0xda);
  const std::size_t end = find_marker(original, begin + 2, 0);
  const std::vector<std::byte> scan(original.begin() + static_cast<std::ptrdiff_t>(begin),
                                    original.begin() + static_cast<std::ptrdiff_t>(end));
  // The first scan is repeated; it sets the same coefficients each time.
  auto bytes = original;
  for (; scans < 100; ++scans) {
    bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(end), scan.begin(), scan.end());
  }
  EXPECT_EQ(decode_image(bytes).rgb, decode_image(original).rgb);
  bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(end), scan.begin(), scan.end());
  EXPECT_EQ(failure(bytes), "damaged: more than 100 scans of an image of 24x16");
}

/// Changes the size that the header of a JPEG states.
void claim_size(std::vector<std::byte>& jpeg, int width, int height) {
  for (std::size_t i = 0; i + 9 < jpeg.size(); ++i) {
    if (jpeg[i] != std::byte(0xff) || (jpeg[i + 1] | std::byte(3)) != std::byte(0xc3)) continue;
    jpeg[i + 5] = std::byte(height >> 8), jpeg[i + 6] = std::byte(height & 255);
    jpeg[i + 7] = std::byte(width >> 8), jpeg[i + 8] = std::byte(width & 255);
    return;
  }
}

TEST(DecodeJpeg, RefusesManyScansOfALargeImage) {
  JpegOptions options;
  options.progressive = true;
  const auto original = encode_jpeg(patterned_image(24, 16, 5), options);
  const std::size_t begin = find_marker(original, 0, 0xda);
  const std::size_t end = find_marker(original, begin + 2, 0);
  const std::vector<std::byte> scan(original.begin() + static_cast<std::ptrdiff_t>(begin),
                                    original.begin() + static_cast<std::ptrdiff_t>(end));
  auto bytes = original;
  for (int scans = 0; scans < 40; ++scans)
    bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(end), scan.begin(), scan.end());
  bytes.resize(100'000);  // as long as a file of this size may be
  claim_size(bytes, 8192, 4096);
  EXPECT_EQ(failure(bytes), "damaged: more than 32 scans of an image of 8192x4096");
}

TEST(DecodeJpeg, RefusesAFileTooShortForItsPixels) {
  auto bytes = encode_jpeg(flat_image(8, 8, 1, 2, 3));
  claim_size(bytes, 20000, 5000);
  EXPECT_EQ(failure(bytes),
            fmt::format("truncated: {} bytes are too few for 20000x5000 pixels", bytes.size()));
  // A flat image is the shortest file for its size.
  for (const bool progressive : {false, true}) {
    JpegOptions options;
    options.progressive = progressive;
    EXPECT_EQ(failure(encode_jpeg(flat_image(3000, 2000, 9, 9, 9), options)), "no error");
  }
}

TEST(DecodeJpeg, RefusesAnEnormousClaimBeforeAllocatingIt) {
  auto bytes = encode_jpeg(flat_image(8, 8, 1, 2, 3));
  claim_size(bytes, 60000, 60000);
  EXPECT_THAT(failure(bytes), StartsWith("larger than the limit: 60000x60000"));
}

TEST(DecodeImage, RefusesWhatIsNoneOfItsFormats) {
  EXPECT_EQ(failure({}), "not a JPEG, PNG, WebP or BMP: no bytes");
  EXPECT_EQ(failure(test::bytes_of("GIF89a and so on")), "not a JPEG, PNG, WebP or BMP");
  EXPECT_EQ(failure(test::bytes_of("\xff")), "not a JPEG, PNG, WebP or BMP");
}

TEST(DecodeImage, ReadsASinglePixel) {
  expect_flat(decode_image(encode_jpeg(flat_image(1, 1, 90, 90, 90))), 90, 90, 90, 1);
  expect_flat(decode_image(encode_png(flat_image(1, 1, 1, 2, 3))), 1, 2, 3, 0);
}

TEST(DecodeImage, RefusesAStripTooLongToResize) {
  EXPECT_EQ(failure(encode_png(flat_image(65536, 1, 1, 2, 3))),
            "larger than the limit: 65536x1, at most 65535 pixels per side");
  EXPECT_EQ(failure(encode_png(flat_image(1, 65536, 1, 2, 3))),
            "larger than the limit: 1x65536, at most 65535 pixels per side");
  EXPECT_EQ(failure(encode_png(flat_image(1, 65535, 1, 2, 3))), "no error");
}

TEST(DecodeImage, HoldsTheLimitToThePixel) {
  const auto bytes = encode_png(flat_image(4, 5, 1, 2, 3));
  EXPECT_EQ(failure(bytes, {20}), "no error");
  EXPECT_EQ(failure(bytes, {19}), "larger than the limit: 4x5, at most 19 pixels");
}

}  // namespace
}  // namespace offramp::image
