#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/numbers.h"
#include "report/frontier_chart.h"
#include "report/page.h"
#include "report/sections.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

// Largest number of a curve's points that have a tooltip and a row in the table.
constexpr std::size_t kPointsOfCurve = 25;

FrontierPoint point_of(const ReportBaseline& control, bool has_policy, int& letters) {
  using Kind = ReportBaseline::Kind;
  const eval::Baseline& measured = control.control;
  FrontierPoint point{clean(control.name),
                      measured.relative_cost,
                      measured.accuracy,
                      measured.accuracy_interval,
                      {},
                      {},
                      {},
                      "k"};
  switch (control.kind) {
    case Kind::plain:
      point.shape = Marker::diamond;
      point.css = "k hollow";
      point.label = "plain network";
      break;
    case Kind::exit:
      point.shape = Marker::circle;
      break;
    case Kind::random:
      point.shape = Marker::cross;
      point.label = "random exits";
      break;
    case Kind::oracle:
      point.shape = Marker::triangle;
      point.label = "oracle";
      break;
    case Kind::other:
      point.shape = Marker::square;
      point.badge = std::string(1, static_cast<char>('A' + letters++ % 26));
      break;
  }
  point.note = {
      point.name, "accuracy " + percent(point.accuracy, 2), "relative cost " + fixed(point.cost, 3),
      (has_policy ? "policy − this: " : "last exit − this: ") + points(measured.difference, 2) +
          " points (" + points(measured.difference_interval, 2) + ")"};
  return point;
}

FrontierPoint chosen_point(const ReportContext& context) {
  const ReportPolicy& policy = context.input.policy;
  const bool has_policy = context.has_policy();
  const std::string how = policy.executed ? "executed" : "replayed";
  FrontierPoint point{
      has_policy ? "the chosen policy (" + how + ")" : "this network, its last exit",
      policy.metrics.relative_cost,
      policy.metrics.accuracy,
      policy.metrics.accuracy_interval,
      Marker::star,
      has_policy ? "chosen policy" : "this network",
      "",
      "pick"};
  point.note = {point.name, "accuracy " + percent(point.accuracy, 2),
                "relative cost " + fixed(point.cost, 3),
                "95 % interval: " + percent(policy.metrics.accuracy_interval, 2)};
  return point;
}

std::vector<FrontierPoint> points_of(const ReportContext& context) {
  std::vector<FrontierPoint> points;
  int letters = 0, exits = 0;
  for (const ReportBaseline& control : context.input.controls) {
    // Without a policy, all images stop at the last exit, and so do all random draws.
    if (control.kind == ReportBaseline::Kind::random && !context.has_policy()) continue;
    points.push_back(point_of(control, context.has_policy(), letters));
    if (control.kind == ReportBaseline::Kind::exit)
      points.back().badge = fmt::format("{}", ++exits);
  }
  // The plain network has nearly the cost and accuracy of the last exit. Its mark is larger and
  // hollow, and is drawn first, so that both marks can be seen.
  std::stable_partition(points.begin(), points.end(),
                        [](const FrontierPoint& point) { return point.shape == Marker::diamond; });
  points.push_back(chosen_point(context));
  return points;
}

FrontierCurve curve_of(const eval::Curve& curve, int colour) {
  FrontierCurve line{std::string(to_string(curve.criterion)), colour, {}, {}};
  if (curve.ensemble != policy::Ensemble::off)
    line.name += fmt::format(", {} ensemble", to_string(curve.ensemble));
  for (const eval::SweepPoint& point : curve.points)
    line.points.emplace_back(point.relative_cost, point.accuracy);
  for (const eval::SweepPoint& point : core::evenly_spaced(curve.points, kPointsOfCurve))
    line.notes.push_back(
        {point.relative_cost,
         point.accuracy,
         {line.name + " ≥ " + fixed(point.threshold, 4), "accuracy " + percent(point.accuracy, 2),
          "relative cost " + fixed(point.relative_cost, 3), "replayed"}});
  return line;
}

Table points_table(const ReportContext& context) {
  Table table("Ways to classify the same test images",
              {"", "accuracy", "95 % interval", "relative cost",
               context.has_policy() ? "policy − this, points" : "last exit − this, points",
               "95 % interval, paired"});
  const FrontierPoint chosen = chosen_point(context);
  table.row({chosen.name, percent(chosen.accuracy, 2), percent(*chosen.interval, 2),
             fixed(chosen.cost, 3), "", ""});
  for (const ReportBaseline& of : context.input.controls) {
    const eval::Baseline& control = of.control;
    table.row({of.name, percent(control.accuracy, 2),
               control.accuracy_interval ? percent(*control.accuracy_interval, 2) : "expectation",
               fixed(control.relative_cost, 3), points(control.difference, 2),
               points(control.difference_interval, 2)});
  }
  return table;
}

std::string curves_table(const ReportContext& context) {
  Table table("Sweep curves, replayed",
              {"criterion", "threshold", "relative cost", "accuracy", "harm", "help"});
  for (const eval::Curve& curve : context.input.curves)
    for (const eval::SweepPoint& point : core::evenly_spaced(curve.points, kPointsOfCurve))
      table.row({curve_of(curve, 0).name, fixed(point.threshold, 4), fixed(point.relative_cost, 3),
                 percent(point.accuracy, 2), percent(point.harm, 2), percent(point.help, 2)});
  return table.empty() ? "" : folded("The sweep curves as a table", table.html());
}

}  // namespace

std::string frontier_section(const ReportContext& context) {
  std::vector<FrontierCurve> curves;
  for (const eval::Curve& curve : context.input.curves)
    curves.push_back(curve_of(curve, static_cast<int>(curves.size() % 8)));
  const std::vector<FrontierPoint> points = points_of(context);
  const bool is_single_point = points.size() == 1 && curves.empty();
  std::string out;
  if (!is_single_point)
    out += paragraph("Up is better, left is cheaper. A bar through a mark is its 95 % interval.");
  out += terms({{"relative cost",
                 "multiply-accumulates that an image needs, including those of all heads that are "
                 "evaluated on the way, divided by those of the plain network"}});
  const std::string chart =
      at_both_widths([&](double width) { return frontier_chart(points, curves, width); }) +
      frontier_legend(points, curves);
  out += is_single_point ? points_table(context).html()
                         : figure(chart, points_table(context)) + curves_table(context);
  if (!curves.empty())
    out += paragraph(
        "Each curve is one criterion for stopping, with one threshold for all early exits that "
        "changes along the curve. Thresholds were chosen on tune images and are replayed on the "
        "test images from saved logits.",
        "soft");
  else if (!context.input.no_curves.empty())
    out += paragraph("No sweep curves: " + context.input.no_curves, "soft");
  return section("cost", "Accuracy against cost", out);
}

}  // namespace offramp::report
