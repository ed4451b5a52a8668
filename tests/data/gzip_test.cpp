#include <gtest/gtest.h>

#include "core/error.h"
#include "data/sources.h"
#include "tests/support/image_files.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

using detail::decompress_gzip;

constexpr std::uint64_t kEnough = 1 << 20;

std::vector<std::byte> some_bytes(std::size_t count) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < count; ++i) bytes.push_back(static_cast<std::byte>(i * i % 251));
  return bytes;
}

std::string failure(std::span<const std::byte> bytes, std::uint64_t max_bytes = kEnough) {
  return test::message_of([&] { decompress_gzip(bytes, max_bytes); });
}

/// The output of `gzip -n` of GNU gzip 1.12 for "offramp\n".
std::vector<std::byte> foreign_file() {
  constexpr std::string_view kText(
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x4f\x4b\x2b\x4a\xcc\x2d\xe0\x02\x00"
      "\xb4\x13\x4f\xd5\x08\x00\x00\x00",
      28);
  return test::bytes_of(kText);
}

TEST(Gzip, DecompressesFilesOfGnuGzip) {
  EXPECT_EQ(decompress_gzip(foreign_file(), 8), test::bytes_of("offramp\n"));
}

TEST(Gzip, DecompressesContentOfAnySize) {
  for (const std::size_t size : {0, 1, 2, 255, 256, 65535, 65536, 300000}) {
    const auto bytes = some_bytes(size);
    EXPECT_EQ(decompress_gzip(test::gzip(bytes), kEnough), bytes) << size;
  }
}

TEST(Gzip, RecognisesAGzipFileByItsFirstTwoBytes) {
  EXPECT_TRUE(detail::is_gzip(test::gzip(some_bytes(3))));
  EXPECT_FALSE(detail::is_gzip(test::bytes_of("\x1f")));
  EXPECT_FALSE(detail::is_gzip(test::bytes_of("\x1fx")));
  EXPECT_FALSE(detail::is_gzip({}));
}

TEST(Gzip, RefusesAFileCutOffAtAnyLength) {
  const auto whole = test::gzip(some_bytes(500));
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_NE(failure(std::span(whole).first(length)), "no error") << length;
  EXPECT_EQ(failure(std::span(whole).first(whole.size() / 2)),
            "the gzip file is damaged: truncated gzip input");
  EXPECT_EQ(failure(std::span(whole).first(17)), "the file has 17 bytes, too few for a gzip file");
}

TEST(Gzip, NeverGivesOtherContentThanWasPackedAfterAChangeOfABit) {
  const auto content = some_bytes(60);
  const auto whole = test::gzip(content);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto changed = whole;
      changed[i] ^= static_cast<std::byte>(1 << bit);
      try {
        // Changes to the time in the header, or to the unused bits before the checksum, have no
        // effect.
        EXPECT_EQ(decompress_gzip(changed, kEnough), content) << "byte " << i << ", bit " << bit;
      } catch (const Error&) {
      }
    }
  }
}

TEST(Gzip, ComparesTheChecksum) {
  auto bytes = test::gzip(some_bytes(500));
  bytes[bytes.size() - 8] ^= std::byte{1};
  EXPECT_EQ(failure(bytes), "the gzip file is damaged: its checksum is wrong");
}

TEST(Gzip, RefusesAFileOfAnotherSizeThanItsEndStates) {
  const auto whole = test::gzip(some_bytes(500));
  auto other = whole;
  other[other.size() - 4] = std::byte{0xf3};  // of 500 bytes, 0x01f4
  EXPECT_EQ(
      failure(other),
      "the gzip file is truncated or damaged: it decompresses to 500 bytes, but its last bytes "
      "state 499");
}

TEST(Gzip, StopsABombAtTheLimitWhateverItStates) {
  // A million zeros are compressed to about a thousand bytes.
  auto bomb = test::gzip(std::vector<std::byte>(1000000));
  ASSERT_LT(bomb.size(), 2000u);
  EXPECT_EQ(failure(bomb, 1000000), "no error");
  EXPECT_EQ(failure(bomb, 999999), "decompresses to more than the 999999 bytes allowed");
  for (std::size_t i = bomb.size() - 4; i < bomb.size(); ++i) bomb[i] = std::byte{0};
  EXPECT_EQ(failure(bomb, 999999), "decompresses to more than the 999999 bytes allowed");
}

TEST(Gzip, RefusesAnythingBehindTheStream) {
  auto padded = test::gzip(some_bytes(500));
  padded.insert(padded.end(), 8, std::byte{0});
  EXPECT_NE(failure(padded), "no error");
  // A second stream follows the first. gzip joins the two; a reader that expects one stream would
  // lose the second.
  auto two = test::gzip(some_bytes(500));
  const auto second = test::gzip(some_bytes(20));
  two.insert(two.end(), second.begin(), second.end());
  EXPECT_EQ(
      failure(two),
      "the gzip file is truncated or damaged: it decompresses to 520 bytes, but its last bytes "
      "state 20");
}

TEST(Gzip, RefusesGzipWithinGzip) {
  EXPECT_NE(failure(test::gzip(test::gzip(some_bytes(500)))), "no error");
}

TEST(Gzip, RefusesWhatOnlyBeginsAsGzipDoes) {
  auto text = test::bytes_of("\x1f\x8b and then a text of some length");
  EXPECT_NE(failure(text), "no error");
}

}  // namespace
}  // namespace offramp::data
