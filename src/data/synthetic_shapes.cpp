#include "data/synthetic_shapes.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace offramp::data::detail {
namespace {

using Contour = std::vector<Point>;

constexpr double kTwoPi = 2 * std::numbers::pi;

// The result is computed in double and rounded to float, so that pixels do not depend on the last
// bit of a math library's sine.
Point at_angle(double radius, double angle) {
  return {static_cast<float>(radius * std::sin(angle)),
          static_cast<float>(-radius * std::cos(angle))};
}

// Returns points along a circle from angle `begin` to angle `end` (in radians), both included.
Contour arc(double radius, double begin, double end, int points, Point centre = {}) {
  Contour contour;
  for (int i = 0; i < points; ++i) {
    const Point p = at_angle(radius, begin + (end - begin) * i / (points - 1));
    contour.push_back({p.x + centre.x, p.y + centre.y});
  }
  return contour;
}

Contour circle(double radius, Point centre = {}) {
  constexpr int kPoints = 36;
  Contour contour = arc(radius, 0, kTwoPi, kPoints + 1, centre);
  contour.pop_back();
  return contour;
}

Contour polygon(int corners) {
  Contour contour = arc(1, 0, kTwoPi, corners + 1);
  contour.pop_back();
  return contour;
}

Contour star(int points, double inner) {
  Contour contour;
  for (int i = 0; i < 2 * points; ++i) {
    contour.push_back(at_angle(i % 2 == 0 ? 1 : inner, kTwoPi * i / (2 * points)));
  }
  return contour;
}

Contour heart() {
  Contour contour;
  for (int i = 0; i < 40; ++i) {
    const double t = kTwoPi * i / 40, s = std::sin(t);
    contour.push_back({static_cast<float>(16 * s * s * s),
                       static_cast<float>(-(13 * std::cos(t) - 5 * std::cos(2 * t) -
                                            2 * std::cos(3 * t) - std::cos(4 * t)))});
  }
  return contour;
}

Contour joined(Contour first, const Contour& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Contour crescent() {
  // The two arcs meet 40 degrees above and below the direction of the open side.
  const double tip = kTwoPi / 9;
  const Point meeting = at_angle(1, kTwoPi / 4 - tip);
  const Point centre{0.62f, 0};
  const double inner = std::hypot(meeting.x - centre.x, meeting.y);
  const double inner_tip = std::atan2(meeting.x - centre.x, -meeting.y);
  return joined(arc(1, kTwoPi / 4 + tip, kTwoPi * 5 / 4 - tip, 28),
                arc(inner, inner_tip, -inner_tip - kTwoPi / 2, 20, centre));
}

Contour open_ring() {
  const double gap = kTwoPi / 9;
  return joined(arc(1, kTwoPi / 4 + gap, kTwoPi * 5 / 4 - gap, 28),
                arc(0.55, kTwoPi * 5 / 4 - gap, kTwoPi / 4 + gap, 22));
}

Outline eight() {
  return {joined(arc(1, -kTwoPi / 4, kTwoPi / 4, 16, {0, -0.9f}),
                 arc(1, kTwoPi / 4, kTwoPi * 3 / 4, 16, {0, 0.9f})),
          circle(0.55, {0, -0.85f}), circle(0.55, {0, 0.85f})};
}

// An arc whose end tangents meet in one point.
Contour drop() {
  Contour contour = arc(1, kTwoPi / 6, kTwoPi * 5 / 6, 26);
  contour.push_back({0, -2});
  return contour;
}

const Contour kCross = {{-1, -3}, {1, -3}, {1, -1}, {3, -1}, {3, 1},   {1, 1},
                        {1, 3},   {-1, 3}, {-1, 1}, {-3, 1}, {-3, -1}, {-1, -1}};
// Each tile consists of four or five squares in a different arrangement, so all corners look the
// same.
const Contour kTileS = {{0, 2}, {0, 1}, {1, 1}, {1, 0}, {3, 0}, {3, 1}, {2, 1}, {2, 2}};
const Contour kTileL = {{0, 0}, {1, 0}, {1, 2}, {2, 2}, {2, 3}, {0, 3}};
const Contour kTileT = {{0, 0}, {3, 0}, {3, 1}, {2, 1}, {2, 2}, {1, 2}, {1, 1}, {0, 1}};
const Contour kTileU = {{0, 0}, {1, 0}, {1, 1}, {2, 1}, {2, 0}, {3, 0}, {3, 2}, {0, 2}};
const Contour kArrow = {{0, -3},    {2.2f, -0.4f},  {0.8f, -0.4f}, {0.8f, 3},
                        {-0.8f, 3}, {-0.8f, -0.4f}, {-2.2f, -0.4f}};

Outline normalised(Outline outline) {
  Point low{1e9f, 1e9f}, high{-1e9f, -1e9f};
  for (const Point& p : outline.front()) {
    low = {std::min(low.x, p.x), std::min(low.y, p.y)};
    high = {std::max(high.x, p.x), std::max(high.y, p.y)};
  }
  const Point centre{(low.x + high.x) / 2, (low.y + high.y) / 2};
  float radius = 0;
  for (const Point& p : outline.front()) {
    const float x = p.x - centre.x, y = p.y - centre.y;
    radius = std::max(radius, std::sqrt(x * x + y * y));
  }
  for (Contour& contour : outline) {
    for (Point& p : contour) p = {(p.x - centre.x) / radius, (p.y - centre.y) / radius};
  }
  return outline;
}

struct Shape {
  std::string_view name;
  Outline outline;
};

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = [] {
    std::vector<Shape> list = {{"circle", {circle(1)}},
                               {"ring", {circle(1), circle(0.55)}},
                               {"square", {polygon(4)}},
                               {"triangle", {polygon(3)}},
                               {"pentagon", {polygon(5)}},
                               {"star", {star(5, 0.45)}},
                               {"cross", {kCross}},
                               {"tile_s", {kTileS}},
                               {"tile_l", {kTileL}},
                               {"tile_t", {kTileT}},
                               {"heart", {heart()}},
                               {"hexagon", {polygon(6)}},
                               {"hexagram", {star(6, 0.55)}},
                               {"crescent", {crescent()}},
                               {"half_disc", {arc(1, -kTwoPi / 4, kTwoPi / 4, 20)}},
                               {"open_ring", {open_ring()}},
                               {"eight", eight()},
                               {"arrow", {kArrow}},
                               {"tile_u", {kTileU}},
                               {"drop", {drop()}}};
    for (Shape& shape : list) shape.outline = normalised(std::move(shape.outline));
    return list;
  }();
  return all;
}

// A side of a polygon, with values that speed up the computation of distances to it.
struct Side {
  Point begin;
  float dx, dy;
  float inverse_length_squared;
};

// Returns the distance of a point from the nearest side; it is negative inside the shape.
float signed_distance(const std::vector<Side>& sides, float x, float y) {
  float nearest = 1e30f;
  bool inside = false;
  for (const Side& side : sides) {
    const float px = x - side.begin.x, py = y - side.begin.y;
    const float along =
        std::clamp((px * side.dx + py * side.dy) * side.inverse_length_squared, 0.0f, 1.0f);
    const float ex = px - along * side.dx, ey = py - along * side.dy;
    nearest = std::min(nearest, ex * ex + ey * ey);
    // The point is inside if a horizontal ray to the right crosses an odd number of sides.
    const bool above = side.begin.y > y, end_above = side.begin.y + side.dy > y;
    if (above != end_above && (px * side.dy < py * side.dx) == (side.dy > 0)) inside = !inside;
  }
  return inside ? -std::sqrt(nearest) : std::sqrt(nearest);
}

}  // namespace

std::span<const std::string_view> shape_names() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> list;
    for (const Shape& shape : shapes()) list.push_back(shape.name);
    return list;
  }();
  return names;
}

const Outline& shape_outline(std::size_t shape) { return shapes().at(shape).outline; }

Outline transformed(const Outline& outline, const Pose& pose) {
  Outline result = outline;
  for (Contour& contour : result) {
    for (Point& p : contour) {
      p = {pose.xx * p.x + pose.xy * p.y + pose.x0, pose.yx * p.x + pose.yy * p.y + pose.y0};
    }
  }
  return result;
}

void fill(Canvas& canvas, const Outline& outline, const Colour& from, const Colour& to) {
  std::vector<Side> sides;
  Point low{1e9f, 1e9f}, high{-1e9f, -1e9f};
  for (const Contour& contour : outline) {
    for (std::size_t i = 0; i < contour.size(); ++i) {
      const Point a = contour[i], b = contour[(i + 1) % contour.size()];
      const float dx = b.x - a.x, dy = b.y - a.y;
      const float length_squared = dx * dx + dy * dy;
      if (length_squared > 0) sides.push_back({a, dx, dy, 1 / length_squared});
      low = {std::min(low.x, a.x), std::min(low.y, a.y)};
      high = {std::max(high.x, a.x), std::max(high.y, a.y)};
    }
  }
  const int top = std::max(0, static_cast<int>(std::floor(low.y - 1)));
  const int left = std::max(0, static_cast<int>(std::floor(low.x - 1)));
  const int bottom = std::min(canvas.height, static_cast<int>(std::ceil(high.y + 1)));
  const int right = std::min(canvas.width, static_cast<int>(std::ceil(high.x + 1)));
  for (int row = top; row < bottom; ++row) {
    const float y = static_cast<float>(row) + 0.5f;
    const float share = std::clamp((y - low.y) / std::max(high.y - low.y, 1e-6f), 0.0f, 1.0f);
    for (int column = left; column < right; ++column) {
      const float distance = signed_distance(sides, static_cast<float>(column) + 0.5f, y);
      const float coverage = std::clamp(0.5f - distance, 0.0f, 1.0f);
      if (coverage == 0) continue;
      float* pixel = canvas.pixel(column, row);
      for (std::size_t c = 0; c < 3; ++c) {
        const float colour = from[c] + share * (to[c] - from[c]);
        pixel[c] += coverage * (colour - pixel[c]);
      }
    }
  }
}

}  // namespace offramp::data::detail
