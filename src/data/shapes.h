#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

// What synthetic images are drawn with; not part of the folder's interface.
namespace offramp::detail {

struct Point {
  float x = 0, y = 0;  // y points down, as rows do
};

/// Closed polygons; a point inside an odd number of them is inside the shape.
using Outline = std::vector<std::vector<Point>>;

/// Class names of synthetic images in their order; a data set of n classes has the first n.
std::span<const std::string_view> shape_names();

/// The outline of a shape, its centre at 0 and its farthest point at distance 1.
/// @param shape  index into shape_names()
const Outline& shape_outline(std::size_t shape);

/// A linear map and a shift: dst = (xx x + xy y + x0, yx x + yy y + y0).
struct Pose {
  float xx = 1, xy = 0, yx = 0, yy = 1, x0 = 0, y0 = 0;
};
Outline transformed(const Outline& outline, const Pose& pose);

using Colour = std::array<float, 3>;

/// A picture of floats, [height, width, 3]; pixel (x, y) has its centre at (x + 0.5, y + 0.5).
struct Canvas {
  int height, width;
  std::vector<float> rgb;

  Canvas(int h, int w)
      : height(h), width(w), rgb(static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * 3) {}
  float* pixel(int x, int y) {
    return rgb.data() + (static_cast<std::ptrdiff_t>(y) * width + x) * 3;
  }
};

/// Fills an outline given in pixels. The edge is antialiased by each pixel's distance from it. The
/// colour goes linearly from `from` to `to` over the outline's height.
void fill(Canvas& canvas, const Outline& outline, const Colour& from, const Colour& to);

}  // namespace offramp::detail
