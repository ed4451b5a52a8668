#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "report/svg.h"
#include "report/text.h"

namespace offramp::report {

/// The positions of the names and the bars of a horizontal bar chart, in pixels. Names are beside
/// the bars, or above them if the chart is narrow and a name is long.
struct BarLayout {
  double left = 0;         ///< left edge of the bars
  double name_height = 0;  ///< distance between the top of a row and its bar
  double bar_height = 22;
  int columns = 22;  ///< largest number of columns of a name

  double row() const { return name_height + bar_height + 5; }

  /// The name of a row that begins at `top`, as markup.
  std::string name(std::string_view text, double top, std::string_view css) const {
    const std::string shown = shorten(text, columns);
    return name_height > 0 ? text_at(1, top + name_height / 2, shown, Anchor::start, css)
                           : text_at(left - 8, top + bar_height / 2, shown, Anchor::end, css);
  }
};

/// @param bars   the bars, each with a `name`
/// @param width  width of the chart
template <typename Bars>
BarLayout layout_of(const Bars& bars, double width) {
  constexpr double kWidestWithNamesAbove = 600;
  constexpr int kShort = 13, kLong = 40;
  int longest = 0;
  for (const auto& bar : bars) longest = std::max(longest, columns(clean(bar.name)));
  BarLayout layout;
  if (width <= kWidestWithNamesAbove && longest > kShort) {
    layout.columns = kLong;
    layout.name_height = 19;
    return layout;
  }
  layout.left = 40;
  for (const auto& bar : bars)
    layout.left = std::max(layout.left, text_width(shorten(bar.name, layout.columns)) + 12);
  return layout;
}

}  // namespace offramp::report
