#include "report/page.h"

#include <fmt/format.h>

#include "report/table.h"
#include "report/text.h"

namespace offramp::report {

std::string at_both_widths(const std::function<std::string(double width)>& draw) {
  return fmt::format("<div class=\"at-wide\">{}</div>\n<div class=\"at-narrow\">{}</div>\n",
                     draw(kWide), draw(kNarrow));
}

std::string legend(const std::vector<LegendItem>& items) {
  std::string out = "<ul class=\"legend\">";
  for (const LegendItem& item : items)
    out += fmt::format("<li>{}{}</li>", item.swatch, escape(item.text));
  return out + "</ul>\n";
}

std::string line_swatch(std::string_view css) {
  return marker_swatch(fmt::format(R"(<path class="{}" d="M0 7H26"/>)", css));
}

std::string box_swatch(std::string_view css) {
  return fmt::format(
      R"(<svg class="swatch" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">)"
      R"(<rect class="{}" x="0" y="0" width="14" height="14" rx="3"/></svg>)",
      css);
}

std::string marker_swatch(std::string_view marker) {
  return fmt::format(
      R"(<svg class="swatch" viewBox="0 0 26 14" width="26" height="14" aria-hidden="true">{}</svg>)",
      marker);
}

std::string tiles(const std::vector<Tile>& items) {
  std::string out = "<dl class=\"tiles\">";
  for (const Tile& item : items)
    out +=
        fmt::format("<div><dt>{}</dt><dd class=\"value\">{}</dd><dd class=\"note\">{}</dd></div>",
                    escape(item.name), escape(item.value), escape(item.note));
  return out + "</dl>\n";
}

std::string paragraph(std::string_view text, std::string_view css) {
  return css.empty() ? fmt::format("<p>{}</p>\n", escape(text))
                     : fmt::format("<p class=\"{}\">{}</p>\n", css, escape(text));
}

std::string terms(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "<dl class=\"terms\">";
  for (const auto& [term, meaning] : items)
    out += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", escape(term), escape(meaning));
  return out + "</dl>\n";
}

std::string figure(std::string_view chart, const Table& table) {
  return fmt::format("<figure>\n{}{}</figure>\n", chart,
                     table.empty() ? "" : folded("The numbers as a table", table.html()));
}

std::string folded(std::string_view summary, std::string_view content, bool open) {
  return fmt::format("<details{}><summary>{}</summary>\n{}</details>\n",
                     open ? " open=\"open\"" : "", escape(summary), content);
}

std::string section(std::string_view id, std::string_view heading, std::string_view content) {
  return fmt::format(
      "<section id=\"{0}\" aria-labelledby=\"{0}-h\">\n<h2 id=\"{0}-h\">{1}</h2>\n{2}"
      "</section>\n",
      id, escape(heading), content);
}

std::string document(std::string_view title, std::string_view style, std::string_view body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; img-src data:\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
      "<link rel=\"icon\" href=\"data:,\"/>\n"
      "<title>{}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
      escape(title), style_sheet(), style, body);
}

}  // namespace offramp::report
