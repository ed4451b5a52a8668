#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace offramp::report {

class Table;

/// The widths, in pixels, at which charts are drawn, so that their text has the same size on a
/// phone and on a large screen.
inline constexpr double kWide = 960, kNarrow = 336;

/// Draws a chart at both widths. The style sheet hides the one that does not fit the screen.
std::string at_both_widths(const std::function<std::string(double width)>& draw);

/// Explains a colour, a dash pattern or a marker of a chart.
struct LegendItem {
  std::string swatch;  ///< markup of a drawing of 26 x 14 pixels
  std::string text;    ///< not escaped
};
/// The legend of a chart. Like all functions below, it returns markup.
std::string legend(const std::vector<LegendItem>& items);
std::string line_swatch(std::string_view css);
std::string box_swatch(std::string_view css);
/// @param marker  markup of a marker with its centre at (13, 7)
std::string marker_swatch(std::string_view marker);

/// A number with its name and one line that explains it. Strings are not escaped.
struct Tile {
  std::string name, value, note;
};
std::string tiles(const std::vector<Tile>& items);

/// A paragraph. @param text  not escaped
std::string paragraph(std::string_view text, std::string_view css = "");
/// A list of terms and their explanations.
std::string terms(const std::vector<std::pair<std::string, std::string>>& items);

/// A chart and, folded below it, the table of its numbers.
std::string figure(std::string_view chart, const Table& table);
/// Content that is hidden until the reader opens `summary`. @param content  markup
std::string folded(std::string_view summary, std::string_view content, bool open = false);

/// A section of the page. @param heading  not escaped  @param content  markup
std::string section(std::string_view id, std::string_view heading, std::string_view content);

/// A complete HTML document.
/// @param title  not escaped  @param style  CSS to add to style_sheet()  @param body  markup
std::string document(std::string_view title, std::string_view style, std::string_view body);

/// The CSS that all reports share.
std::string_view style_sheet();

}  // namespace offramp::report
