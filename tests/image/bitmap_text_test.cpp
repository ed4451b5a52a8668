#include "image/bitmap_text.h"

#include <gtest/gtest.h>

#include "tests/support/image_files.h"

namespace offramp::image {
namespace {

std::string drawing(std::string_view text, int x, int width, int height, int scale = 1) {
  Image image = test::flat_image(width, height, 255, 255, 255);
  draw_text(image, x, 0, text, scale);
  std::string rows;
  for (int y = 0; y < height; ++y) {
    for (int i = 0; i < width; ++i) {
      rows += image.rgb[static_cast<std::size_t>((y * width + i) * 3)] == 0 ? '#' : '.';
    }
    rows += '\n';
  }
  return rows;
}

TEST(Text, DrawsLettersWithAGapBetweenThem) {
  EXPECT_EQ(drawing("Tl", 0, 11, 7),
            "#####.#....\n"
            "..#...#....\n"
            "..#...#....\n"
            "..#...#....\n"
            "..#...#....\n"
            "..#...#....\n"
            "..#...#####\n");
}

TEST(Text, DrawsThePunctuationOfClassNames) {
  EXPECT_EQ(drawing("/", 0, 5, 7), "....#\n....#\n...#.\n..#..\n.#...\n#....\n#....\n");
  for (const char* mark : {"(", ")", "+", "&", ",", ":", "'", "#", "-", "_", "."})
    EXPECT_NE(drawing(mark, 0, 5, 7), drawing("?", 0, 5, 7)) << mark;
}

TEST(Text, IsClippedAtTheEdges) {
  EXPECT_EQ(drawing("LL", -3, 4, 3), "...#\n...#\n...#\n");
  EXPECT_EQ(drawing("L", 2, 3, 2, 2), "..#\n..#\n");
}

TEST(Text, ShowsAQuestionMarkForWhatItCannotDraw) {
  EXPECT_EQ(drawing("\xc3", 0, 5, 7), drawing("?", 0, 5, 7));
}

}  // namespace
}  // namespace offramp::image
