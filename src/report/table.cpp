#include "report/table.h"

#include <fmt/format.h>

#include <utility>

#include "report/text.h"

namespace offramp::report {

Table::Table(std::string caption, std::vector<std::string> heads, int text_columns)
    : caption_(std::move(caption)), heads_(std::move(heads)), text_columns_(text_columns) {}

void Table::row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::string Table::html() const {
  const auto of_words = [&](std::size_t column) {
    return column < static_cast<std::size_t>(text_columns_) ? R"( class="words")" : "";
  };
  // On a narrow screen each row is a block, in which a value stands after its column's head.
  const auto label = [&](std::size_t column) {
    return column < heads_.size() ? fmt::format(R"( data-l="{}")", escape(heads_[column])) : "";
  };
  // A short table is never cut; a long one is scrolled.
  constexpr std::size_t kShort = 20;
  std::string out = fmt::format(
      R"(<div class="scroll{1}" tabindex="0" role="region" aria-label="{0}"><table><caption>{0}</caption><thead><tr>)",
      escape(caption_), rows_.size() <= kShort ? " whole" : "");
  for (std::size_t i = 0; i < heads_.size(); ++i)
    out += fmt::format(R"(<th scope="col"{}>{}</th>)", of_words(i), escape(heads_[i]));
  out += "</tr></thead>\n<tbody>";
  for (const auto& row : rows_) {
    out += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i)
      out += i == 0 ? fmt::format(R"(<th scope="row"{}>{}</th>)", of_words(i), escape(row[i]))
                    : fmt::format(R"(<td{}{}>{}</td>)", of_words(i), label(i), escape(row[i]));
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>";
}

}  // namespace offramp::report
