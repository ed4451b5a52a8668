#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "report/text.h"

namespace offramp::report {
namespace {

std::string polygon(double x, double y, const std::vector<std::pair<double, double>>& corners,
                    std::string_view css) {
  std::string points;
  for (const auto& [dx, dy] : corners) points += px(x + dx) + "," + px(y + dy) + " ";
  if (!points.empty()) points.pop_back();
  return fmt::format(R"(<polygon class="{}" points="{}"/>)", css, points);
}

std::vector<std::pair<double, double>> star(double radius) {
  std::vector<std::pair<double, double>> corners;
  for (int i = 0; i < 10; ++i) {
    const double r = i % 2 == 0 ? radius : 0.45 * radius;
    const double angle = std::numbers::pi * i / 5;
    corners.emplace_back(r * std::sin(angle), -r * std::cos(angle));
  }
  return corners;
}

}  // namespace

std::vector<double> ticks(double low, double high, int count) {
  if (!(high > low)) high = low + 1;
  const double rough = (high - low) / std::max(1, count);
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.5, 2.0, 1.0})
    if (factor * power >= rough * 0.999) step = factor * power;
  // The 1e-9 keeps rounding errors from adding a tick if low or high is itself a tick.
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  std::vector<double> values;
  for (double i = first; i <= last + 0.5; ++i) values.push_back(i * step);
  return values;
}

std::string tick_label(double value, double step) {
  int decimals = 0;
  for (double scaled = step; decimals < 6 && std::abs(scaled - std::round(scaled)) > 1e-6;
       scaled *= 10)
    ++decimals;
  return fixed(value, decimals);
}

std::string px(double value) {
  std::string digits = fmt::format("{:.1f}", value);
  if (digits.ends_with(".0")) digits.resize(digits.size() - 2);
  return digits == "-0" ? "0" : digits;
}

std::string marker(Marker shape, double x, double y, double radius, std::string_view css) {
  const double r = radius;
  switch (shape) {
    case Marker::square:
      return polygon(x, y, {{-r, -r}, {r, -r}, {r, r}, {-r, r}}, css);
    case Marker::triangle:
      return polygon(x, y, {{0, -1.2 * r}, {1.1 * r, 0.8 * r}, {-1.1 * r, 0.8 * r}}, css);
    case Marker::diamond:
      return polygon(x, y, {{0, -1.3 * r}, {1.3 * r, 0}, {0, 1.3 * r}, {-1.3 * r, 0}}, css);
    case Marker::star:
      return polygon(x, y, star(1.5 * r), css);
    case Marker::cross:
      return polygon(x, y,
                     {{-r, -0.35 * r},
                      {-0.35 * r, -0.35 * r},
                      {-0.35 * r, -r},
                      {0.35 * r, -r},
                      {0.35 * r, -0.35 * r},
                      {r, -0.35 * r},
                      {r, 0.35 * r},
                      {0.35 * r, 0.35 * r},
                      {0.35 * r, r},
                      {-0.35 * r, r},
                      {-0.35 * r, 0.35 * r},
                      {-r, 0.35 * r}},
                     css);
    case Marker::circle:
    case Marker::ring:
      break;
  }
  return fmt::format(R"(<circle class="{}{}" cx="{}" cy="{}" r="{}"/>)", css,
                     shape == Marker::ring ? " hollow" : "", px(x), px(y), px(r));
}

std::string text_at(double x, double y, std::string_view text, Anchor anchor,
                    std::string_view css) {
  constexpr std::string_view kAnchors[] = {"", "mid", "end"};
  std::string classes(kAnchors[static_cast<int>(anchor)]);
  if (!css.empty()) classes += (classes.empty() ? "" : " ") + std::string(css);
  const std::string attribute = classes.empty() ? "" : fmt::format(R"( class="{}")", classes);
  return fmt::format(R"(<text{} x="{}" y="{}">{}</text>)", attribute, px(x), px(y + 4),
                     escape(text));
}

std::string polyline(const std::vector<std::pair<double, double>>& points, std::string_view css) {
  std::string list;
  for (const auto& [x, y] : points) list += px(x) + "," + px(y) + " ";
  if (!list.empty()) list.pop_back();
  return fmt::format(R"(<polyline class="{}" points="{}"/>)", css, list);
}

double text_width(std::string_view text) { return 6.7 * columns(clean(text)); }

Svg::Svg(double width, double height, std::string label)
    : width_(width), height_(height), label_(std::move(label)) {}

void Svg::tooltip(const Tooltip& tooltip) {
  double wide = 0;
  std::string label;
  for (const std::string& line : tooltip.lines) {
    wide = std::max(wide, text_width(line));
    label += (label.empty() ? "" : ", ") + line;
  }
  const double w = std::min(wide + 18, width_ - 2);
  const double h = 17.0 * static_cast<double>(tooltip.lines.size()) + 10;
  const double left = std::clamp(tooltip.x - w / 2, 1.0, std::max(1.0, width_ - w - 1));
  // The tooltip is above the mark, or below it if there is no room above.
  const double top =
      tooltip.y - h - 11 >= 0 ? tooltip.y - h - 11 : std::min(tooltip.y + 13, height_ - h);
  std::string lines;
  for (std::size_t i = 0; i < tooltip.lines.size(); ++i)
    lines += text_at(left + 9, top + 13.5 + 17 * static_cast<double>(i), tooltip.lines[i]);
  tooltips_ += fmt::format(
      R"(<g class="spot"{} role="img" aria-label="{}">{}<g class="tip" aria-hidden="true">)"
      R"(<rect x="{}" y="{}" width="{}" height="{}" rx="5"/>{}</g></g>)",
      tooltip.focusable ? R"( tabindex="0")" : "", escape(label), tooltip.shape, px(left), px(top),
      px(w), px(h), lines);
}

std::string Svg::str() const {
  return fmt::format(
      R"(<svg viewBox="0 0 {} {}" width="{}" height="{}" role="group" aria-label="{}">{}{}</svg>)",
      px(width_), px(height_), px(width_), px(height_), escape(label_), marks_, tooltips_);
}

void draw_axes(Svg& svg, const Frame& frame, const Axis& x, const Axis& y) {
  std::string grid, labels;
  for (std::size_t i = 0; i < y.ticks.size(); ++i) {
    const double at = frame.y(y.ticks[i]);
    grid += fmt::format("M{} {}H{}", px(frame.x.from), px(at), px(frame.x.to));
    labels += text_at(frame.x.from - 8, at, y.labels[i], Anchor::end, "tick");
  }
  for (std::size_t i = 0; i < x.ticks.size(); ++i) {
    const double at = frame.x(x.ticks[i]);
    grid += fmt::format("M{} {}v5", px(at), px(frame.y.from));
    labels += text_at(at, frame.y.from + 16, x.labels[i], Anchor::middle, "tick");
  }
  svg.add(fmt::format(R"(<path class="grid" d="{}"/>)", grid));
  svg.add(labels);
  svg.add(
      text_at((frame.x.from + frame.x.to) / 2, frame.y.from + 36, x.name, Anchor::middle, "axis"));
  svg.add(text_at(frame.x.from, frame.y.to - 14, y.name, Anchor::start, "axis"));
}

}  // namespace offramp::report
