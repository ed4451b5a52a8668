#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "report/bar_layout.h"
#include "report/page.h"
#include "report/sections.h"
#include "report/svg.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

constexpr std::size_t kMostClasses = 30;

/// One bar of the chart: a class, or all classes together.
struct Bar {
  std::string name;
  eval::ClassExits leaving;
};

eval::ClassExits sum_of(const std::vector<eval::ClassExits>& classes) {
  eval::ClassExits sum = classes.front();
  for (std::size_t c = 1; c < classes.size(); ++c) {
    sum.images += classes[c].images;
    for (std::size_t k = 0; k < sum.stopped.size(); ++k) {
      sum.stopped[k] += classes[c].stopped[k];
      sum.correct[k] += classes[c].correct[k];
    }
  }
  return sum;
}

double rate(std::int64_t part, std::int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

/// A rate such as "31.20 %"; "–" if `whole` is 0.
std::string rate_text(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? "–" : percent(rate(part, whole), 2);
}

void draw_bar(Svg& svg, const Bar& bar, double left, double top, double height) {
  const double full = svg.width() - left - 2;
  double x = left;
  const eval::ClassExits& leaving = bar.leaving;
  for (std::size_t k = 0; k < leaving.stopped.size(); ++k) {
    if (leaving.stopped[k] == 0) continue;
    const double share = rate(leaving.stopped[k], leaving.images);
    const double wide = share * full;
    svg.add(fmt::format(R"(<rect class="c{} fill" x="{}" y="{}" width="{}" height="{}"/>)", k % 8,
                        px(x), px(top), px(std::max(0.5, wide - 1)), px(height)));
    if (wide > 34)
      svg.add(text_at(x + wide / 2, top + height / 2, fixed(100 * share, 0) + "\u00a0%",
                      Anchor::middle, fmt::format("c{} on", k % 8)));
    svg.tooltip(
        {fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}"/>)", px(x), px(top),
                     px(std::max(1.0, wide - 1)), px(height)),
         x + wide / 2,
         top,
         {fmt::format("{}: {} leave at exit {}", shorten(bar.name, 20), percent(share, 1), k + 1),
          fmt::format("{} of {}", count(leaving.stopped[k]), count(leaving.images, "image")),
          fmt::format("{} of those classified correctly",
                      percent(rate(leaving.correct[k], leaving.stopped[k]), 1))},
         true});
    x += wide;
  }
}

std::string chart(const std::vector<Bar>& bars, double width) {
  const BarLayout layout = layout_of(bars, width);
  constexpr double kGap = 10;
  Svg svg(width, layout.row() * static_cast<double>(bars.size()) + kGap,
          "Share of each class’s images that leave at each exit");
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const double top = layout.row() * static_cast<double>(i) + (i > 0 ? kGap : 0);
    svg.add(layout.name(bars[i].name, top, i == 0 ? "strong" : ""));
    draw_bar(svg, bars[i], layout.left, top + layout.name_height, layout.bar_height);
  }
  return svg.str();
}

/// A bar for all classes together, then one for each class that has images. Classes whose images
/// leave late come first.
std::vector<Bar> bars_of(const ReportContext& context,
                         const std::vector<eval::ClassExits>& classes) {
  std::vector<eval::ClassExits> sorted = classes;
  std::erase_if(sorted, [](const eval::ClassExits& of) { return of.images == 0; });
  std::ranges::stable_sort(sorted, std::greater<>{}, &eval::ClassExits::mean_exit);
  std::vector<Bar> bars = {{"all classes", sum_of(classes)}};
  for (std::size_t c = 0; c < std::min(sorted.size(), kMostClasses); ++c)
    bars.push_back({context.class_name(sorted[c].label, 40), sorted[c]});
  return bars;
}

Table class_table(const ReportContext& context, const std::vector<Bar>& bars) {
  std::vector<std::string> heads = {"class", "images"};
  for (int k = 0; k < context.exits(); ++k) {
    heads.push_back(fmt::format("leave at exit {}", k + 1));
    heads.push_back("accuracy there");
  }
  Table table("Where images leave", heads);
  for (const Bar& bar : bars) {
    const eval::ClassExits& of = bar.leaving;
    std::vector<std::string> cells = {bar.name, count(of.images)};
    for (std::size_t k = 0; k < of.stopped.size(); ++k) {
      cells.push_back(rate_text(of.stopped[k], of.images));
      cells.push_back(rate_text(of.correct[k], of.stopped[k]));
    }
    table.row(cells);
  }
  return table;
}

/// A row for each exit: the share of the images that leave there, their accuracy, and the accuracy
/// of the last exit on the same images.
std::string exit_table(const ReportContext& context, const eval::ClassExits& all) {
  const auto exits = static_cast<std::size_t>(context.exits());
  std::vector<std::int64_t> last_correct(exits);
  for (std::int64_t i = 0; i < context.predictions.images(); ++i)
    last_correct[static_cast<std::size_t>(
        context.input.policy.exit_index[static_cast<std::size_t>(i)])] +=
        context.predictions.is_correct(context.last(), i);
  Table table("Images by the exit they leave at",
              {"exit", "images", "share", "relative cost of each", "accuracy there",
               "accuracy of the last exit on them"});
  for (std::size_t k = 0; k < exits; ++k)
    table.row({fmt::format("exit {}, after {}", k + 1, context.input.exit_units[k]),
               count(all.stopped[k]), rate_text(all.stopped[k], all.images),
               fixed(context.input.costs[k], 3), rate_text(all.correct[k], all.stopped[k]),
               rate_text(last_correct[k], all.stopped[k])});
  return table.html();
}

}  // namespace

std::string exit_shares_section(const ReportContext& context) {
  constexpr const char* kHeading = "Where images leave";
  if (!context.has_policy()) return "";  // without a policy, all images leave at the last exit
  const auto classes = eval::exits_by_class(context.input.test, context.input.policy.exit_index,
                                            context.input.policy.answers);
  const std::vector<Bar> bars = bars_of(context, classes);
  std::string out = paragraph(
      "An image leaves at the first exit whose score reaches the threshold. In each bar, exit 1 is "
      "at the left. Classes whose images leave late come first.");
  if (classes.size() > kMostClasses)
    out += paragraph(fmt::format("Shown are the {} of {} classes that leave last.", bars.size() - 1,
                                 count(static_cast<std::int64_t>(classes.size()))),
                     "soft");
  const auto empty = std::ranges::count(classes, 0, &eval::ClassExits::images);
  if (empty > 0)
    out += paragraph(fmt::format("{} of the classes {} no test image and {} left out.", empty,
                                 empty == 1 ? "has" : "have", empty == 1 ? "is" : "are"),
                     "soft");
  out += exit_table(context, bars.front().leaving);
  std::vector<LegendItem> items;
  for (int k = 0; k < context.exits(); ++k)
    items.push_back({box_swatch(fmt::format("c{} fill", k % 8)), ReportContext::exit_name(k)});
  out += figure(legend(items) + at_both_widths([&](double width) { return chart(bars, width); }),
                class_table(context, bars));
  return section("leaving", kHeading, out);
}

}  // namespace offramp::report
