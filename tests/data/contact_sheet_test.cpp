#include "data/contact_sheet.h"

#include <gtest/gtest.h>

namespace offramp::data {
namespace {

/// Makes images of one colour: red in class 0 and green in class 1. Each is brighter than the one
/// before it.
Dataset flat_dataset(int side, int per_class) {
  Dataset dataset;
  dataset.width = dataset.height = side;
  dataset.classes = {"red", "green"};
  for (int label = 0; label < 2; ++label) {
    for (int i = 0; i < per_class; ++i) {
      dataset.labels.push_back(label);
      for (int p = 0; p < side * side; ++p) {
        for (int c = 0; c < 3; ++c) {
          dataset.pixels.push_back(c == label ? static_cast<std::uint8_t>(100 + i) : 0);
        }
      }
    }
  }
  return dataset;
}

std::array<int, 3> pixel(const image::Image& image, int x, int y) {
  const auto i = static_cast<std::size_t>((y * image.width + x) * 3);
  return {image.rgb[i], image.rgb[i + 1], image.rgb[i + 2]};
}

TEST(ContactSheet, ShowsARowOfEachClassSpreadOverItsImages) {
  for (const int side : {32, 100}) {  // enlarged, shrunk
    const image::Image sheet = contact_sheet(flat_dataset(side, 40), 4);
    EXPECT_EQ(sheet.width, 4 + 4 * 68);
    for (int i = 0; i < 4; ++i) {
      const int x = 4 + i * 68 + 32;
      EXPECT_EQ(pixel(sheet, x, 4 + 18 + 32), (std::array<int, 3>{100 + 10 * i, 0, 0}));
      EXPECT_EQ(pixel(sheet, x, sheet.height - 12 - 32), (std::array<int, 3>{0, 100 + 10 * i, 0}));
    }
    EXPECT_EQ(pixel(sheet, 0, 0), (std::array<int, 3>{255, 255, 255}));
    EXPECT_EQ(pixel(sheet, 4, 4), (std::array<int, 3>{0, 0, 0})) << "the name's first letter";
  }
}

TEST(ContactSheet, LeavesCellsWhiteWhenAClassHasFewImages) {
  const image::Image sheet = contact_sheet(flat_dataset(32, 1), 3);
  EXPECT_EQ(pixel(sheet, 36, 54), (std::array<int, 3>{100, 0, 0}));
  EXPECT_EQ(pixel(sheet, 36 + 68, 54), (std::array<int, 3>{255, 255, 255}));
}

}  // namespace
}  // namespace offramp::data
