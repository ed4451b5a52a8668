#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>
#include <sys/resource.h>

#include "core/error.h"
#include "image/image.h"
#include "tests/support/image_files.h"

namespace offramp::image {
namespace {

using test::encode;
using test::patterned_image;
using test::PngFile;
using ::testing::ElementsAre;
using ::testing::StartsWith;

std::string failure(std::span<const std::byte> bytes) {
  try {
    decode_image(bytes);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<int> decoded(const PngFile& file) {
  const Image image = decode_image(encode(file));
  EXPECT_EQ(image.width, file.width);
  EXPECT_EQ(image.height, file.height);
  return {image.rgb.begin(), image.rgb.end()};
}

TEST(Png, GivesBackWhatWasEncoded) {
  const Image image = patterned_image(19, 7, 5);
  const Image back = decode_image(encode_png(image));
  EXPECT_EQ(back.width, 19);
  EXPECT_EQ(back.height, 7);
  EXPECT_EQ(back.rgb, image.rgb);
}

TEST(Png, ReadsInterlacedFilesAsPlainOnes) {
  const Image image = patterned_image(19, 11, 6);
  PngFile file{19, 11, PNG_COLOR_TYPE_RGB, 8, true, {}, {}, {}, {}, image.rgb};
  EXPECT_EQ(decode_image(encode(file)).rgb, image.rgb);
}

TEST(Png, LooksUpPalettesAndTheirTransparency) {
  // Two pixels of four bits use palette entries 1 and 0. Entry 1 has alpha 51/255, so white has the
  // weight 4/5.
  PngFile file{2,  1,     PNG_COLOR_TYPE_PALETTE, 4, false, {10, 20, 30, 255, 0, 100}, {}, {},
               {}, {0x10}};
  EXPECT_THAT(decoded(file), ElementsAre(255, 0, 100, 10, 20, 30));
  file.palette_alpha = {255, 51};
  EXPECT_THAT(decoded(file), ElementsAre(255, 204, 224, 10, 20, 30));
}

TEST(Png, SpreadsGrayOfEveryDepth) {
  PngFile file{2, 1, PNG_COLOR_TYPE_GRAY, 1, false, {}, {}, {}, {}, {0x40}};
  EXPECT_THAT(decoded(file), ElementsAre(0, 0, 0, 255, 255, 255));
  file.bit_depth = 2, file.rows = {0x60};  // 1 and 2 of 3
  EXPECT_THAT(decoded(file), ElementsAre(85, 85, 85, 170, 170, 170));
  file.bit_depth = 8, file.rows = {7, 200};
  EXPECT_THAT(decoded(file), ElementsAre(7, 7, 7, 200, 200, 200));
  // 0x8000/65535·255 = 127.502; 0x0080/65535·255 = 0.498
  file.bit_depth = 16, file.rows = {0x80, 0x00, 0x00, 0x80};
  EXPECT_THAT(decoded(file), ElementsAre(128, 128, 128, 0, 0, 0));
}

TEST(Png, ReducesSixteenBitColour) {
  PngFile file{
      1, 1, PNG_COLOR_TYPE_RGB, 16, false, {}, {}, {}, {}, {0xff, 0xff, 0x12, 0x00, 0x00, 0xff}};
  EXPECT_THAT(decoded(file), ElementsAre(255, 18, 1));
}

TEST(Png, BlendsTransparencyWithWhite) {
  PngFile file{3,
               1,
               PNG_COLOR_TYPE_RGB_ALPHA,
               8,
               false,
               {},
               {},
               {},
               {},
               {10, 20, 30, 255, 10, 20, 30, 0, 100, 0, 200, 51}};
  EXPECT_THAT(decoded(file), ElementsAre(10, 20, 30, 255, 255, 255, 224, 204, 244));
  PngFile gray{2, 1, PNG_COLOR_TYPE_GRAY_ALPHA, 8, false, {}, {}, {}, {}, {100, 255, 100, 51}};
  EXPECT_THAT(decoded(gray), ElementsAre(100, 100, 100, 224, 224, 224));
}

TEST(Png, MakesTheTransparentColourWhite) {
  PngFile file{2, 1, PNG_COLOR_TYPE_RGB, 8, false, {}, {}, {9, 8, 7}, {}, {9, 8, 7, 9, 8, 6}};
  EXPECT_THAT(decoded(file), ElementsAre(255, 255, 255, 9, 8, 6));
  PngFile gray{2, 1, PNG_COLOR_TYPE_GRAY, 8, false, {}, {}, {40}, {}, {40, 41}};
  EXPECT_THAT(decoded(gray), ElementsAre(255, 255, 255, 41, 41, 41));
}

TEST(Png, RefusesAFileCutAnywhere) {
  for (const bool interlaced : {false, true}) {
    const Image image = patterned_image(9, 7, 8);
    const auto bytes = encode({9, 7, PNG_COLOR_TYPE_RGB, 8, interlaced, {}, {}, {}, {}, image.rgb});
    for (std::size_t size = 8; size < bytes.size(); ++size) {
      EXPECT_THAT(failure(std::span(bytes).first(size)), StartsWith("truncated: "))
          << size << " of " << bytes.size();
    }
  }
}

TEST(Png, SurvivesAnyChangedByte) {
  const auto bytes = encode_png(patterned_image(9, 7, 9));
  for (std::size_t i = 8; i < bytes.size(); ++i) {
    auto changed = bytes;
    changed[i] ^= std::byte(0x55);
    const std::string found = failure(changed);
    // The last four are the checksum of the empty chunk at the end, which libpng 1.6.48 ignores.
    if (i + 4 < bytes.size()) {
      EXPECT_NE(found, "no error") << "byte " << i << " is in no checksum";
    }
  }
}

/// Returns the largest amount of memory that this process has used so far, in bytes.
std::int64_t peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} << 10;
}

TEST(Png, DoesNotDecompressTextThatIsNeverShown) {
  const Image image = patterned_image(8, 8, 1);
  PngFile file{8, 8, PNG_COLOR_TYPE_RGB, 8, false, {}, {}, {}, {}, image.rgb};
  file.texts.assign(1, std::string(7 << 20, ' '));
  const std::vector<std::byte> one = encode(file);
  file.texts.clear();
  const std::vector<std::byte> none = encode(file);
  // The chunk is repeated here and not by libpng, which would need the memory itself.
  constexpr std::size_t kAfterHeader = 8 + 25;
  const auto chunk = std::span(one).subspan(kAfterHeader, one.size() - none.size());
  std::vector<std::byte> bomb(none.begin(), none.begin() + kAfterHeader);
  for (int i = 0; i < 60; ++i) bomb.insert(bomb.end(), chunk.begin(), chunk.end());
  bomb.insert(bomb.end(), none.begin() + kAfterHeader, none.end());
  const std::int64_t before = peak_memory();
  EXPECT_EQ(decode_image(bomb).rgb, image.rgb);
  EXPECT_LT(peak_memory() - before, 100 << 20) << "60 texts have 420 MiB";
}

TEST(Png, RefusesAnEnormousClaimBeforeAllocatingIt) {
  // The header has a correct checksum (zlib.crc32 of "IHDR" and its 13 bytes) and states 60000 x
  // 60000 pixels of 8-bit RGB; the file ends after it.
  std::vector<std::byte> bytes = test::bytes_of("\x89PNG\r\n\x1a\n");
  std::vector<unsigned char> header = {0,    0, 0, 13,   'I',  'H', 'D', 'R', 0, 0, 0xea,
                                       0x60, 0, 0, 0xea, 0x60, 8,   2,   0,   0, 0};
  const unsigned long checksum = 0xfb0e215;
  for (int shift = 24; shift >= 0; shift -= 8) {
    header.push_back(static_cast<unsigned char>(checksum >> shift));
  }
  // libpng reads the beginning of the image data before it reports the header as complete.
  header.insert(header.end(), {0, 0, 0, 0, 'I', 'D', 'A', 'T', 0x35, 0xaf, 0x06, 0x1e});
  for (const unsigned char byte : header) bytes.push_back(std::byte(byte));
  EXPECT_THAT(failure(bytes), StartsWith("larger than the limit: 60000x60000"));
}

}  // namespace
}  // namespace offramp::image
