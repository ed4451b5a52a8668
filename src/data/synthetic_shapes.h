#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

// Shapes and drawing functions for synthetic images. Internal to src/data.
namespace offramp::data::detail {

struct Point {
  float x = 0, y = 0;  // y increases downwards, like row indices
};

/// The border of a shape as closed polygons. A point that lies inside an odd number of the polygons
/// is inside the shape.
using Outline = std::vector<std::vector<Point>>;

/// Class names of synthetic images, in class order. A data set of n classes has the first n.
std::span<const std::string_view> shape_names();

/// Returns the outline of a shape, centred at (0, 0), with its farthest point at distance 1.
/// @param shape  index into shape_names()
const Outline& shape_outline(std::size_t shape);

/// An affine map: (x, y) goes to (xx * x + xy * y + x0, yx * x + yy * y + y0).
struct Pose {
  float xx = 1, xy = 0, yx = 0, yy = 1, x0 = 0, y0 = 0;
};
Outline transformed(const Outline& outline, const Pose& pose);

using Colour = std::array<float, 3>;

/// An image of floats [height, width, 3]. Pixel (x, y) has its centre at (x + 0.5, y + 0.5).
struct Canvas {
  int height, width;
  std::vector<float> rgb;

  Canvas(int h, int w)
      : height(h), width(w), rgb(static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * 3) {}
  float* pixel(int x, int y) {
    return rgb.data() + (static_cast<std::ptrdiff_t>(y) * width + x) * 3;
  }
};

/// Fills an outline whose coordinates are in pixels. The edge is antialiased: a pixel's coverage is
/// computed from its distance to the edge. The colour changes linearly from `from` at the top of
/// the outline to `to` at its bottom.
void fill(Canvas& canvas, const Outline& outline, const Colour& from, const Colour& to);

}  // namespace offramp::data::detail
