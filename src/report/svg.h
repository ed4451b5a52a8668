#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace offramp::report {

/// Maps values linearly to pixels.
struct Scale {
  double low = 0, high = 1;  ///< two values
  double from = 0, to = 1;   ///< the pixel positions of these values

  double operator()(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

/// About `count` round values for the ticks of an axis. Their distance is 1, 2, 2.5 or 5 times a
/// power of ten; the first is at most `low`, the last at least `high`.
std::vector<double> ticks(double low, double high, int count);
/// The label of a tick, with as many decimals as the distance `step` of the ticks needs.
std::string tick_label(double value, double step);

/// A coordinate with at most one decimal, for example "12.5". The value must be finite.
std::string px(double value);

enum class Marker { circle, square, triangle, diamond, star, cross, ring };
/// A shape with its centre at (x, y). @param css  classes of the shape
std::string marker(Marker shape, double x, double y, double radius, std::string_view css);

enum class Anchor { start, middle, end };
/// A line of text. @param text  not escaped  @param y  vertical middle of the line
std::string text_at(double x, double y, std::string_view text, Anchor anchor = Anchor::start,
                    std::string_view css = "");

/// A line through points, in order.
std::string polyline(const std::vector<std::pair<double, double>>& points, std::string_view css);

/// Approximate width of a text in the charts' font size, in pixels.
double text_width(std::string_view text);

/// A tooltip of a chart, which is shown while its mark is pointed at, focused or tapped.
struct Tooltip {
  std::string shape;               ///< markup that highlights the mark while the tooltip is shown
  double x = 0, y = 0;             ///< position of the mark
  std::vector<std::string> lines;  ///< text of the tooltip, not escaped
  bool focusable = true;           ///< the tab key stops at it
};

/// One drawing. All tooltips come after all marks in the markup, so that no mark covers a tooltip.
class Svg {
 public:
  Svg(double width, double height, std::string label);

  double width() const { return width_; }
  double height() const { return height_; }
  /// Adds a mark. @param element  markup
  void add(std::string_view element) { marks_ += element; }
  /// Adds a tooltip.
  void tooltip(const Tooltip& tooltip);
  std::string str() const;

 private:
  double width_, height_;
  std::string label_, marks_, tooltips_;
};

/// The area between a chart's axes.
struct Frame {
  Scale x, y;
};

/// The ticks of an axis with their labels, and its name.
struct Axis {
  std::vector<double> ticks;
  std::vector<std::string> labels;  ///< one for each tick
  std::string name;
};
/// Draws grid lines, the labels of the ticks, and the names of the axes.
void draw_axes(Svg& svg, const Frame& frame, const Axis& x, const Axis& y);

}  // namespace offramp::report
