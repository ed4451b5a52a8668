#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace offramp::report {

/// A straight line from values to pixels.
struct Scale {
  double low = 0, high = 1;  ///< values
  double from = 0, to = 1;   ///< where they lie

  double operator()(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

/// Round values that span [low, high], about `count` of them: 1, 2, 2.5 or 5 times a power of ten
/// apart. The first is at most `low`, the last at least `high`.
std::vector<double> ticks(double low, double high, int count);
/// A tick's label: as many decimals as the step needs.
std::string tick_label(double value, double step);

/// "12.5"; finite numbers only.
std::string px(double value);

enum class Marker { circle, square, triangle, diamond, star, cross, ring };
/// @param css  classes of the shape
std::string marker(Marker shape, double x, double y, double radius, std::string_view css);

enum class Anchor { start, middle, end };
/// A line of text, escaped. y is its middle.
std::string text_at(double x, double y, std::string_view text, Anchor anchor = Anchor::start,
                    std::string_view css = "");

/// A line through points, in order.
std::string polyline(const std::vector<std::pair<double, double>>& points, std::string_view css);

/// Pixels that a text of the charts' size takes, roughly.
double text_width(std::string_view text);

/// What a value of a chart says when it is pointed at, focused or tapped.
struct Spot {
  std::string shape;               ///< an element, drawn above the marks; seen when spotted
  double x = 0, y = 0;             ///< where the note points
  std::vector<std::string> lines;  ///< the note, not escaped
  bool focusable = true;
};

/// One drawing: what is seen, and above it what can be pointed at. Later notes are hidden until
/// asked for, so none lies under a mark.
class Svg {
 public:
  Svg(double width, double height, std::string label);

  double width() const { return width_; }
  double height() const { return height_; }
  /// @param element  markup, already escaped
  void add(std::string_view element) { marks_ += element; }
  void spot(const Spot& spot);
  std::string str() const;

 private:
  double width_, height_;
  std::string label_, marks_, spots_;
};

/// The area between a chart's axes.
struct Frame {
  Scale x, y;
};

/// Grid lines, tick labels and the axes' names.
/// @param x_format, y_format  from a tick and the step to its label
struct Axis {
  std::vector<double> ticks;
  std::vector<std::string> labels;
  std::string name;
};
void draw_axes(Svg& svg, const Frame& frame, const Axis& x, const Axis& y);

}  // namespace offramp::report
