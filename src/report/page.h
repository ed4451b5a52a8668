#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace offramp::report {

class Table;

/// The widths that charts are drawn at, so that their text is as large on a phone as on a desk.
inline constexpr double kWide = 960, kNarrow = 336;

/// Draws a chart at both widths; the style shows one of them.
std::string at_both_widths(const std::function<std::string(double width)>& draw);

/// What a colour, a dash or a marker stands for. @param swatch  markup of a 26 × 14 drawing
struct LegendItem {
  std::string swatch;
  std::string text;  ///< not escaped
};
std::string legend(const std::vector<LegendItem>& items);
std::string line_swatch(std::string_view css);
std::string box_swatch(std::string_view css);
/// @param marker  drawn around (13, 7)
std::string marker_swatch(std::string_view marker);

/// A number with its name and one line that explains it. Not escaped.
struct Tile {
  std::string name, value, note;
};
std::string tiles(const std::vector<Tile>& items);

/// A paragraph. Not escaped.
std::string paragraph(std::string_view text, std::string_view css = "");
/// A term and what it means, one line each.
std::string terms(const std::vector<std::pair<std::string, std::string>>& items);

/// A chart with the numbers behind it, folded.
std::string figure(std::string_view chart, const Table& table);
/// A table folded under `summary`.
std::string folded(std::string_view summary, std::string_view content, bool open = false);

/// @param content  markup
std::string section(std::string_view id, std::string_view heading, std::string_view content);

/// A whole document. @param title  not escaped  @param style  more style sheet  @param body  markup
std::string document(std::string_view title, std::string_view style, std::string_view body);

/// The page's style sheet.
std::string_view style_sheet();

}  // namespace offramp::report
