#include <fmt/format.h>

#include <algorithm>

#include "eval/overthinking.h"
#include "report/bar_layout.h"
#include "report/page.h"
#include "report/sections.h"
#include "report/svg.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

constexpr std::size_t kMostClasses = 30;

struct Bar {
  std::string name;
  eval::OverthinkingCounts counts;

  double errors() const { return rate(counts.errors()); }
  double destroyed() const { return rate(counts.destructive()); }

 private:
  double rate(std::int64_t part) const {
    return static_cast<double>(part) / static_cast<double>(counts.images);
  }
};

/// The share of the last exit's errors that an earlier exit classifies correctly, such as "33.9 %";
/// "–" if there are no errors.
std::string share_text(const eval::OverthinkingCounts& of) {
  return of.errors() == 0 ? "–" : percent(of.destroyed_errors(), 1);
}

std::string note_of(const Bar& bar) {
  return fmt::format("{} of {}", count(bar.counts.destructive()), count(bar.counts.errors()));
}

void draw_bar(Svg& svg, const Bar& bar, double left, double top, double height, double full) {
  const double errors = bar.errors() * full, destroyed = bar.destroyed() * full;
  const auto rect = [&](std::string_view css, double x, double wide) {
    if (wide > 0)
      svg.add(fmt::format(R"(<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>)", css, px(x),
                          px(top), px(wide), px(height)));
  };
  rect("bad", left, destroyed);
  rect("bad weak", left + destroyed, errors - destroyed);
  svg.add(text_at(left + errors + 6, top + height / 2, note_of(bar)));
  std::vector<std::string> lines = {
      fmt::format("{}: the last exit is wrong on {}", shorten(bar.name, 20),
                  percent(bar.errors(), 1)),
      fmt::format("{} of {}; an earlier exit is correct on {} of them", count(bar.counts.errors()),
                  count(bar.counts.images, "image"), count(bar.counts.destructive()))};
  for (std::size_t k = 0; k < bar.counts.lost_after.size(); ++k)
    lines.push_back(fmt::format("{} correct for the last time at exit {}",
                                count(bar.counts.lost_after[k]), k + 1));
  svg.tooltip({fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}"/>)", px(left), px(top),
                           px(std::max(1.0, errors)), px(height)),
               left + errors / 2, top, lines, true});
}

std::string chart(const std::vector<Bar>& bars, double width) {
  const BarLayout layout = layout_of(bars, width);
  double notes = 0, most_errors = 0.01;
  for (const Bar& bar : bars) {
    notes = std::max(notes, text_width(note_of(bar)) + 8);
    most_errors = std::max(most_errors, bar.errors());
  }
  constexpr double kGap = 10;
  Svg svg(width, layout.row() * static_cast<double>(bars.size()) + kGap,
          "Errors of the last exit by class, and those that an earlier exit classifies correctly");
  const double full = (svg.width() - layout.left - notes) / most_errors;
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const double top = layout.row() * static_cast<double>(i) + (i > 0 ? kGap : 0);
    svg.add(layout.name(bars[i].name, top, i == 0 ? "strong" : ""));
    draw_bar(svg, bars[i], layout.left, top + layout.name_height, layout.bar_height, full);
  }
  return svg.str();
}

/// A bar for all classes together, then one for each class that has images. Classes with the
/// highest destructive share come first.
std::vector<Bar> bars_of(const ReportContext& context,
                         const std::vector<eval::OverthinkingCounts>& classes) {
  std::vector<Bar> bars;
  for (std::size_t c = 0; c < classes.size(); ++c)
    if (classes[c].images > 0)
      bars.push_back({context.class_name(static_cast<std::int64_t>(c), 40), classes[c]});
  std::ranges::stable_sort(bars, std::greater<>{}, &Bar::destroyed);
  bars.resize(std::min(bars.size(), kMostClasses));
  bars.insert(bars.begin(), {"all classes", eval::sum_of_counts(classes)});
  return bars;
}

Table table_of(const std::vector<Bar>& bars, int exits) {
  std::vector<std::string> heads = {"class", "images", "errors of the last exit",
                                    "an earlier exit is correct", "share of the errors"};
  for (int k = 0; k < exits; ++k) heads.push_back(fmt::format("first correct at exit {}", k + 1));
  heads.push_back("never correct");
  Table table("Errors of the last exit, and first correct exits, by class", heads);
  for (const Bar& bar : bars) {
    const eval::OverthinkingCounts& of = bar.counts;
    std::vector<std::string> cells = {bar.name, count(of.images), count(of.errors()),
                                      count(of.destructive()), share_text(of)};
    for (const std::int64_t first : of.first_correct) cells.push_back(count(first));
    cells.push_back(count(of.images - of.oracle()));
    table.row(cells);
  }
  return table;
}

}  // namespace

std::string overthinking_by_class_figure(const ReportContext& context,
                                         const std::vector<eval::OverthinkingCounts>& classes) {
  const std::vector<Bar> bars = bars_of(context, classes);
  std::string out;
  const auto with_images = std::ranges::count_if(
      classes, [](const eval::OverthinkingCounts& of) { return of.images > 0; });
  if (static_cast<std::size_t>(with_images) > kMostClasses)
    out =
        paragraph(fmt::format("Shown are the {} of {} classes with the highest destructive share.",
                              kMostClasses, count(with_images)),
                  "soft");
  return out +
         figure(legend({{box_swatch("bad"), "the last exit is wrong, an earlier one is correct"},
                        {box_swatch("bad weak"), "the last exit and all earlier ones are wrong"}}) +
                    at_both_widths([&](double width) { return chart(bars, width); }),
                table_of(bars, context.exits()));
}

}  // namespace offramp::report
