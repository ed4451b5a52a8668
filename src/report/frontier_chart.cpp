#include "report/frontier_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "report/page.h"
#include "report/text.h"

namespace offramp::report {
namespace {

struct Range {
  double low = HUGE_VAL, high = -HUGE_VAL;

  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  /// Makes the range at least `least` wide, so that differences by chance do not fill the chart.
  void widen(double least) {
    if (!(low <= high)) low = high = 0;
    const double missing = (least - (high - low)) / 2;
    if (missing > 0) low -= missing, high += missing;
  }
};

std::string curve_css(const FrontierCurve& curve) {
  return fmt::format("line c{} d{}", curve.colour, curve.colour % 4);
}

double radius(const FrontierPoint& point) {
  if (point.shape == Marker::diamond) return 10;
  return point.badge.empty() ? 6.5 : 8.5;
}

std::string draw(const FrontierPoint& point, double x, double y) {
  std::string out = marker(point.shape, x, y, radius(point), point.css);
  if (!point.badge.empty()) out += text_at(x, y, point.badge, Anchor::middle, "on-k");
  return out;
}

Axis axis(double low, double high, int count, bool as_percent) {
  Axis axis;
  axis.ticks = ticks(low, high, count);
  const double scale = as_percent ? 100 : 1;
  const double step = scale * (axis.ticks[1] - axis.ticks[0]);
  for (const double tick : axis.ticks)
    axis.labels.push_back(tick_label(scale * tick, step) + (as_percent ? "\u00a0%" : ""));
  return axis;
}

struct Box {
  double left, top, right, bottom;
  bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

/// Places labels beside their marks. A label covers no mark and no other label, and as few points
/// of the curves as possible. A label without such a place is left out; the legend still names the
/// mark.
class LabelPlacer {
 public:
  LabelPlacer(const Frame& frame, const std::vector<FrontierPoint>& points,
              const std::vector<FrontierCurve>& curves)
      : frame_(frame), curves_(curves) {
    for (const FrontierPoint& point : points) {
      const double x = frame.x(point.cost), y = frame.y(point.accuracy), r = radius(point) + 2;
      taken_.push_back({x - r, y - r, x + r, y + r});
    }
  }

  std::string place(const FrontierPoint& point) {
    if (point.label.empty()) return "";
    const double x = frame_.x(point.cost), y = frame_.y(point.accuracy);
    const double wide = text_width(point.label), away = radius(point) + 6;
    const std::array<std::pair<double, double>, 4> corners = {{{x + away, y - 8},
                                                               {x - away - wide, y - 8},
                                                               {x - wide / 2, y - away - 16},
                                                               {x - wide / 2, y + away}}};
    std::optional<Box> best;
    for (const auto& [left, top] : corners) {
      const Box box{left, top, left + wide, top + 16};
      if (is_free(box) && (!best || covered_points(box) < covered_points(*best))) best = box;
    }
    if (!best) return "";
    taken_.push_back(*best);
    return text_at(best->left, best->top + 8, point.label, Anchor::start, "strong halo");
  }

 private:
  bool is_free(const Box& box) const {
    return box.left > frame_.x.from && box.right < frame_.x.to + 4 && box.top > frame_.y.to - 4 &&
           box.bottom < frame_.y.from &&
           std::ranges::none_of(taken_, [&](const Box& other) { return box.overlaps(other); });
  }

  std::int64_t covered_points(const Box& box) const {
    std::int64_t points = 0;
    for (const FrontierCurve& curve : curves_)
      points += std::ranges::count_if(curve.points, [&](const auto& point) {
        const double x = frame_.x(point.first), y = frame_.y(point.second);
        return box.overlaps({x - 2, y - 2, x + 2, y + 2});
      });
    return points;
  }

  const Frame& frame_;
  const std::vector<FrontierCurve>& curves_;
  std::vector<Box> taken_;
};

void draw_curve(Svg& svg, const Frame& frame, const FrontierCurve& curve) {
  std::vector<std::pair<double, double>> line;
  for (const auto& [cost, accuracy] : curve.points)
    line.emplace_back(frame.x(cost), frame.y(accuracy));
  svg.add(polyline(line, curve_css(curve)));
  for (std::size_t i = 0; i < curve.notes.size(); ++i) {
    const auto& note = curve.notes[i];
    const double x = frame.x(note.cost), y = frame.y(note.accuracy);
    // The tab key stops at every sixth point only, because stopping at each would take too long.
    svg.tooltip({marker(Marker::circle, x, y, 5, "at"), x, y, note.lines, i % 6 == 0});
  }
}

void draw_point(Svg& svg, const Frame& frame, const FrontierPoint& point) {
  const double x = frame.x(point.cost), y = frame.y(point.accuracy);
  if (point.interval)
    svg.add(fmt::format(R"(<path class="whisker" d="M{0} {1}V{2}M{3} {1}h8M{3} {2}h8"/>)", px(x),
                        px(frame.y(point.interval->low)), px(frame.y(point.interval->high)),
                        px(x - 4)));
  svg.add(draw(point, x, y));
  svg.tooltip({marker(Marker::circle, x, y, radius(point) + 5, "at"), x, y, point.note, true});
}

}  // namespace

std::string frontier_chart(const std::vector<FrontierPoint>& points,
                           const std::vector<FrontierCurve>& curves, double width) {
  Range costs, accuracies;
  for (const FrontierPoint& point : points) {
    costs.add(point.cost);
    accuracies.add(point.accuracy);
    if (point.interval) accuracies.add(point.interval->low), accuracies.add(point.interval->high);
  }
  for (const FrontierCurve& curve : curves)
    for (const auto& [cost, accuracy] : curve.points) costs.add(cost), accuracies.add(accuracy);
  costs.widen(0.1);
  accuracies.widen(0.02);

  const bool wide = width > 600;
  const double height = wide ? 470 : 330;
  Axis x = axis(costs.low, costs.high, wide ? 8 : 4, false);
  Axis y = axis(accuracies.low, accuracies.high, wide ? 8 : 6, true);
  x.name = wide ? "relative cost, mean over the images (1 = the plain network)" : "relative cost";
  y.name = "test images classified correctly";
  const Frame frame{{x.ticks.front(), x.ticks.back(), 56, width - 14},
                    {y.ticks.front(), y.ticks.back(), height - 44, 30}};

  Svg svg(width, height, "Accuracy against relative cost");
  draw_axes(svg, frame, x, y);
  for (const FrontierCurve& curve : curves) draw_curve(svg, frame, curve);
  for (const FrontierPoint& point : points) draw_point(svg, frame, point);
  LabelPlacer labels(frame, points, curves);
  for (auto point = points.rbegin(); point != points.rend(); ++point) svg.add(labels.place(*point));
  return svg.str();
}

std::string frontier_legend(const std::vector<FrontierPoint>& points,
                            const std::vector<FrontierCurve>& curves) {
  std::vector<LegendItem> items;
  for (const FrontierPoint& point : points)
    items.push_back({marker_swatch(draw(point, 13, 7)), point.name});
  for (const FrontierCurve& curve : curves)
    items.push_back({line_swatch(curve_css(curve)), curve.name + " (replayed)"});
  return legend(items);
}

}  // namespace offramp::report
