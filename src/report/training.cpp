#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/page.h"
#include "report/sections.h"
#include "report/svg.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

constexpr double kHalf = 470;  // width of each of two charts side by side, in pixels

struct Line {
  std::string name, css, unit;
  std::vector<std::pair<double, double>> points;  ///< epoch, value
  bool tooltips = true;                           ///< its values have tooltips
  std::string mark = {};                          ///< CSS class of its markers; empty: no markers
  Marker shape = Marker::circle;
};

/// A marker for each exit, so that its line can be told apart by more than its colour.
Marker shape_of(std::size_t exit) {
  constexpr Marker kShapes[] = {Marker::circle,  Marker::square, Marker::triangle,
                                Marker::diamond, Marker::cross,  Marker::star};
  return kShapes[exit % std::size(kShapes)];
}

Axis axis_of(double low, double high, int wanted, std::string name) {
  Axis axis{ticks(low, high, wanted), {}, std::move(name)};
  for (const double tick : axis.ticks)
    axis.labels.push_back(tick_label(tick, axis.ticks[1] - axis.ticks[0]));
  return axis;
}

/// The step between points that have a tooltip. A line has at most 60 tooltips.
std::size_t stride(std::size_t points) { return points / 60 + 1; }

void draw_line(Svg& svg, const Frame& frame, const Line& line, int decimals) {
  std::vector<std::pair<double, double>> points;
  for (const auto& [epoch, value] : line.points)
    points.emplace_back(frame.x(epoch), frame.y(value));
  svg.add(polyline(points, "line " + line.css));
  if (points.size() == 1)
    svg.add(marker(Marker::circle, points[0].first, points[0].second, 4, line.css + " fill"));
  if (!line.mark.empty())
    for (std::size_t i = 0; i < points.size(); i += points.size() / 15 + 1)
      svg.add(marker(line.shape, points[i].first, points[i].second, 3.4, line.mark));
  if (!line.tooltips) return;
  for (std::size_t i = 0; i < points.size(); i += stride(points.size())) {
    const auto [x, y] = points[i];
    svg.tooltip(
        {marker(Marker::circle, x, y, 5, "at"),
         x,
         y,
         {fmt::format("epoch {:.0f}", line.points[i].first),
          fmt::format("{} {}{}", line.name, fixed(line.points[i].second, decimals), line.unit)},
         i % (6 * stride(points.size())) == 0 || i + 1 == points.size()});
  }
}

std::string chart(const std::vector<Line>& lines, double width, const std::string& name,
                  int decimals) {
  double low = HUGE_VAL, high = -HUGE_VAL, first = HUGE_VAL, last = -HUGE_VAL;
  for (const Line& line : lines)
    for (const auto& [epoch, value] : line.points) {
      low = std::min(low, value), high = std::max(high, value);
      first = std::min(first, epoch), last = std::max(last, epoch);
    }
  if (!(low <= high)) return "";
  const double height = width > kNarrow ? 300 : 270;
  const Axis y = axis_of(low, high, 5, name);
  Axis x = axis_of(first, std::max(last, first + 1), width > kNarrow ? 6 : 5, "epoch");
  for (std::size_t i = 0; i < x.ticks.size(); ++i)
    if (x.ticks[i] != std::round(x.ticks[i])) x.labels[i].clear();
  const Frame frame{{x.ticks.front(), x.ticks.back(), 48, width - 14},
                    {y.ticks.front(), y.ticks.back(), height - 44, 30}};
  Svg svg(width, height, name + " by epoch");
  draw_axes(svg, frame, x, y);
  for (const Line& line : lines) draw_line(svg, frame, line, decimals);
  return svg.str();
}

std::size_t exits_of(const Training& training) {
  std::size_t exits = 0;
  for (const TrainingEpoch& epoch : training.epochs)
    exits = std::max({exits, epoch.tune_accuracy.size(), epoch.train_accuracy.size()});
  return exits;
}

/// The accuracy of an exit by epoch. @param values  the member of TrainingEpoch that is drawn
Line accuracy_line(const Training& training, std::size_t exit,
                   std::vector<double> TrainingEpoch::*values, std::string_view images) {
  Line line{fmt::format("exit {}, {} images:", exit + 1, images),
            fmt::format("c{}", exit % 8),
            "\u00a0%",
            {},
            true};
  for (const TrainingEpoch& epoch : training.epochs)
    if (exit < (epoch.*values).size() && std::isfinite((epoch.*values)[exit]))
      line.points.emplace_back(epoch.epoch, 100 * (epoch.*values)[exit]);
  return line;
}

Table epochs_table(const Training& training) {
  const std::size_t exits = exits_of(training);
  std::vector<std::string> heads = {"epoch", "loss"};
  for (std::size_t k = 0; k < exits; ++k) heads.push_back(fmt::format("exit {}, tune", k + 1));
  for (std::size_t k = 0; k < exits; ++k) heads.push_back(fmt::format("exit {}, train", k + 1));
  Table table("Training by epoch", heads);
  const auto cell = [](const std::vector<double>& values, std::size_t k) {
    return k < values.size() ? percent(values[k], 2) : "–";
  };
  for (const TrainingEpoch& epoch : training.epochs) {
    std::vector<std::string> cells = {count(epoch.epoch), fixed(epoch.loss, 4)};
    for (std::size_t k = 0; k < exits; ++k) cells.push_back(cell(epoch.tune_accuracy, k));
    for (std::size_t k = 0; k < exits; ++k) cells.push_back(cell(epoch.train_accuracy, k));
    table.row(cells);
  }
  return table;
}

std::string charts(const Training& training) {
  const std::size_t exits = exits_of(training);
  std::vector<Line> lines;
  std::vector<LegendItem> items;
  for (std::size_t k = 0; k < exits; ++k) {
    lines.push_back(accuracy_line(training, k, &TrainingEpoch::train_accuracy, "train"));
    lines.back().css += " thin";
    lines.back().tooltips = false;
  }
  for (std::size_t k = 0; k < exits; ++k) {
    lines.push_back(accuracy_line(training, k, &TrainingEpoch::tune_accuracy, "tune"));
    Line& line = lines.back();
    line.mark = fmt::format("c{} dot", k % 8);
    line.shape = shape_of(k);
    items.push_back({marker_swatch(fmt::format(R"(<path class="line {}" d="M0 7H26"/>)", line.css) +
                                   marker(line.shape, 13, 7, 4, line.mark)),
                     fmt::format("exit {}", k + 1)});
  }
  items.push_back({line_swatch("line c7 thin"), "on the augmented train images"});
  Line loss{"loss", "c7", "", {}, true};
  for (const TrainingEpoch& epoch : training.epochs)
    if (std::isfinite(epoch.loss)) loss.points.emplace_back(epoch.epoch, epoch.loss);
  const auto draw = [](const std::vector<Line>& shown, const std::string& name, int decimals) {
    return at_both_widths(
        [&](double width) { return chart(shown, std::min(width, kHalf), name, decimals); });
  };
  const std::string drawings =
      fmt::format("{}<div class=\"pair\">\n<div>{}</div>\n<div>{}</div>\n</div>\n", legend(items),
                  draw(lines, "accuracy on tune images, %", 2), draw({loss}, "loss", 4));
  return figure(drawings, epochs_table(training));
}

}  // namespace

std::string training_section(const ReportContext& context) {
  const auto& trainings = context.input.trainings;
  if (trainings.empty()) return "";
  std::string out = paragraph(
      "Measured after every epoch. The network is not trained on tune images, but the best epoch "
      "is chosen on them, so only the test images above give an unbiased accuracy.");
  for (std::size_t i = 0; i < trainings.size(); ++i)
    out += i == 0 ? fmt::format("<h3>{}</h3>\n", escape(trainings[i].name)) + charts(trainings[i])
                  : folded(clean(trainings[i].name), charts(trainings[i]));
  return section("training", "Training", out);
}

}  // namespace offramp::report
