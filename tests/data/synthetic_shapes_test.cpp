#include "data/synthetic_shapes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace offramp::data::detail {
namespace {

constexpr Colour kBlack = {0, 0, 0}, kWhite = {1, 1, 1};

// Returns the white area of the canvas, in pixels.
double covered(Canvas& canvas) {
  double sum = 0;
  for (std::size_t i = 0; i < canvas.rgb.size(); i += 3) sum += canvas.rgb[i];
  return sum;
}

double area_of(std::string_view name) {
  const auto names = shape_names();
  const auto at = std::find(names.begin(), names.end(), name);
  EXPECT_NE(at, names.end()) << name;
  Canvas canvas(200, 200);
  const Pose pose{.xx = 80, .yy = 80, .x0 = 100, .y0 = 100};
  fill(canvas, transformed(shape_outline(static_cast<std::size_t>(at - names.begin())), pose),
       kWhite, kWhite);
  return covered(canvas) / (80.0 * 80.0);
}

TEST(Shapes, HaveTheirAreas) {
  // The areas are computed by hand for shapes whose farthest point is at distance 1. A circle is
  // drawn as a polygon of 36 sides.
  const double tolerance = 0.02;
  EXPECT_NEAR(area_of("circle"), std::numbers::pi, tolerance);
  EXPECT_NEAR(area_of("ring"), std::numbers::pi * (1 - 0.55 * 0.55), tolerance);
  EXPECT_NEAR(area_of("square"), 2, tolerance);
  // The arms are 2 wide and 6 long: the area is 20, and the farthest corner is at sqrt(10).
  EXPECT_NEAR(area_of("cross"), 2, tolerance);
  // The tiles consist of four unit squares; the bounding box of S, L and T is 3 by 2. The farthest
  // corner of L and T is a corner of the box.
  EXPECT_NEAR(area_of("tile_l"), 4 / (1.5 * 1.5 + 1), tolerance);
  EXPECT_NEAR(area_of("tile_t"), 4 / (1.5 * 1.5 + 1), tolerance);
  EXPECT_NEAR(area_of("tile_s"), 4 / (1.5 * 1.5 + 1), tolerance);
}

TEST(Shapes, AllFitTheUnitCircleAndTouchIt) {
  for (std::size_t shape = 0; shape < shape_names().size(); ++shape) {
    float farthest = 0;
    for (const auto& contour : shape_outline(shape)) {
      EXPECT_GE(contour.size(), 3u);
      for (const Point& p : contour) farthest = std::max(farthest, std::hypot(p.x, p.y));
    }
    EXPECT_NEAR(farthest, 1, 1e-5) << shape_names()[shape];
  }
}

TEST(Fill, CoversEachPixelByItsShareOfAnAlignedSquare) {
  // The shape goes from 1.25 to 3.5. If a share s of a pixel is covered, its centre is s - 1/2
  // inside the edge.
  Canvas canvas(5, 5);
  fill(canvas, {{{1.25f, 1.25f}, {3.5f, 1.25f}, {3.5f, 3.5f}, {1.25f, 3.5f}}}, kWhite, kWhite);
  const float expected[] = {0, 0.75f, 1, 0.5f, 0};
  for (int x = 0; x < 5; ++x) EXPECT_NEAR(*canvas.pixel(x, 2), expected[x], 1e-5) << x;
}

TEST(Fill, LeavesHolesAndCutsOffAtTheBorder) {
  Canvas canvas(10, 10);
  fill(canvas, {{{-20, -20}, {20, -20}, {20, 20}, {-20, 20}}, {{2, 2}, {8, 2}, {8, 8}, {2, 8}}},
       kWhite, kWhite);
  EXPECT_EQ(*canvas.pixel(0, 0), 1);
  EXPECT_EQ(*canvas.pixel(9, 5), 1);
  EXPECT_EQ(*canvas.pixel(5, 5), 0);
  EXPECT_NEAR(covered(canvas), 64, 1e-4);
}

TEST(Fill, DrawsNothingOutside) {
  Canvas canvas(4, 4);
  fill(canvas, {{{10, 10}, {12, 10}, {12, 12}}}, kWhite, kWhite);
  fill(canvas, {{{-9, 1}, {-5, 1}, {-5, 3}}}, kWhite, kWhite);
  EXPECT_EQ(covered(canvas), 0);
}

TEST(Fill, GoesFromOneColourToTheOther) {
  Canvas canvas(8, 1);
  fill(canvas, {{{-5, 0}, {5, 0}, {5, 8}, {-5, 8}}}, kBlack, kWhite);
  EXPECT_NEAR(*canvas.pixel(0, 0), 0.5 / 8, 1e-5);
  EXPECT_NEAR(*canvas.pixel(0, 4), 4.5 / 8, 1e-5);
}

TEST(Transformed, IsALinearMapAndAShift) {
  const Outline outline =
      transformed({{{1, 0}, {0, 1}}}, {.xx = 2, .xy = 3, .yx = 5, .yy = 7, .x0 = 11, .y0 = 13});
  EXPECT_EQ(outline[0][0].x, 13);
  EXPECT_EQ(outline[0][0].y, 18);
  EXPECT_EQ(outline[0][1].x, 14);
  EXPECT_EQ(outline[0][1].y, 20);
}

}  // namespace
}  // namespace offramp::data::detail
