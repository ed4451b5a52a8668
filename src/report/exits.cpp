#include <fmt/format.h>

#include <algorithm>

#include "report/page.h"
#include "report/sections.h"
#include "report/svg.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

using Bins = std::array<eval::ReliabilityBin, eval::kReliabilityBins>;

constexpr double kLeft = 50, kTop = 8, kSide = 246, kHistogram = 40;

Axis percent_axis(std::string name) {
  return {{0, 0.25, 0.5, 0.75, 1}, {"0", "25", "50", "75", "100"}, std::move(name)};
}

std::string rect(std::string_view css, double x, double y, double width, double height) {
  return fmt::format(R"(<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>)", css, px(x),
                     px(y), px(width), px(height));
}

/// A reliability diagram: a bar of accuracy for each bin, with the gap to the mean confidence, and
/// below it the share of the images in the bin.
/// @param scaled  bins at the policy's temperature, drawn as points; null: none
std::string diagram(const Bins& bins, const Bins* scaled, std::int64_t images,
                    const std::string& name) {
  const Frame frame{{0, 1, kLeft, kLeft + kSide}, {0, 1, kTop + kSide, kTop}};
  const double floor = kTop + kSide + kHistogram + 8;
  Svg svg(kLeft + kSide + 10, floor + 44, "Reliability diagram of " + name);
  Axis x = percent_axis("confidence, %"), y = percent_axis("");
  x.labels.assign(5, "");
  draw_axes(svg, frame, {x.ticks, x.labels, ""}, y);
  constexpr double kWidth = kSide / eval::kReliabilityBins;
  for (std::size_t b = 0; b < bins.size(); ++b) {
    const eval::ReliabilityBin& bin = bins[b];
    if (bin.images == 0) continue;
    const double left = kLeft + kWidth * static_cast<double>(b);
    const double share = static_cast<double>(bin.images) / static_cast<double>(images);
    const double top = frame.y(bin.accuracy), ideal = frame.y(bin.confidence);
    svg.add(rect("good half", left + 1, top, kWidth - 2, frame.y(0) - top));
    svg.add(rect("gap", left + 1, std::min(top, ideal), kWidth - 2, std::abs(top - ideal)));
    svg.add(
        rect("still half", left + 1, floor - kHistogram * share, kWidth - 2, kHistogram * share));
    svg.tooltip({rect("at", left, kTop, kWidth, floor - kTop),
                 left + kWidth / 2,
                 std::min(top, ideal),
                 {fmt::format("confidence {:.0f} … {:.0f} %", 100.0 * static_cast<double>(b) / 15,
                              100.0 * static_cast<double>(b + 1) / 15),
                  fmt::format("{}, {}", count(bin.images, "image"), percent(share, 1)),
                  fmt::format("mean confidence {}", percent(bin.confidence, 1)),
                  fmt::format("accuracy {}", percent(bin.accuracy, 1))},
                 true});
  }
  svg.add(fmt::format(R"(<path class="rule" d="M{} {}L{} {}"/>)", px(frame.x(0)), px(frame.y(0)),
                      px(frame.x(1)), px(frame.y(1))));
  if (scaled)
    for (const eval::ReliabilityBin& bin : *scaled)
      if (bin.images > 0)
        svg.add(marker(Marker::circle, frame.x(bin.confidence), frame.y(bin.accuracy), 3, "k"));
  svg.add(text_at(kLeft - 8, floor - kHistogram / 2, "images", Anchor::end, "small faint"));
  svg.add(fmt::format(R"(<path class="grid" d="M{} {}H{}"/>)", px(kLeft), px(floor),
                      px(kLeft + kSide)));
  for (std::size_t i = 0; i < x.ticks.size(); ++i)
    svg.add(text_at(frame.x(x.ticks[i]), floor + 14, percent_axis("").labels[i], Anchor::middle,
                    "tick"));
  svg.add(text_at(kLeft + kSide / 2, floor + 33, x.name, Anchor::middle, "axis"));
  return svg.str();
}

std::string metrics_sentence(const ReportContext& context, int exit_index,
                             const eval::Reliability* scaled) {
  const auto k = static_cast<std::size_t>(exit_index);
  const eval::ExitMetrics& exit = context.input.metrics.exits[k];
  std::string text = fmt::format("Accuracy {} ({}); ECE {}", percent(exit.accuracy, 2),
                                 percent(exit.accuracy_interval, 1), fixed(exit.ece, 4));
  if (scaled)
    text += fmt::format(", {} at the policy’s temperature {}", fixed(scaled->error(), 4),
                        fixed(context.input.policy.policy.temperatures[k], 3));
  return paragraph(text + ".", "soft");
}

Table bins_table(const std::vector<Bins>& exits) {
  Table table("Reliability by exit",
              {"exit", "confidence", "images", "mean confidence", "accuracy"}, 2);
  for (std::size_t k = 0; k < exits.size(); ++k)
    for (std::size_t b = 0; b < exits[k].size(); ++b) {
      const eval::ReliabilityBin& bin = exits[k][b];
      if (bin.images == 0) continue;
      table.row({ReportContext::exit_name(static_cast<int>(k)),
                 fmt::format("{:.1f} … {:.1f} %", 100.0 * static_cast<double>(b) / 15,
                             100.0 * static_cast<double>(b + 1) / 15),
                 count(bin.images), percent(bin.confidence, 2), percent(bin.accuracy, 2)});
    }
  return table;
}

std::string metrics_table(const ReportContext& context) {
  const ReportInput& input = context.input;
  Table table("Every exit on all test images",
              {"", "relative cost", "accuracy", "95 % interval", "ECE", "NLL, nats",
               "correct, confidence > 0.9", "> 0.99", "> 0.999"});
  for (std::size_t k = 0; k < input.metrics.exits.size(); ++k) {
    const eval::ExitMetrics& exit = input.metrics.exits[k];
    std::vector<std::string> cells = {fmt::format("exit {}, after {}", k + 1, input.exit_units[k]),
                                      fixed(input.costs[k], 3),
                                      percent(exit.accuracy, 2),
                                      percent(exit.accuracy_interval, 2),
                                      fixed(exit.ece, 4),
                                      fixed(exit.nll, 4)};
    for (const std::int64_t correct : exit.confident_and_correct) cells.push_back(count(correct));
    table.row(cells);
  }
  if (input.test.exits < 2) return table.html();
  constexpr const char* kNames[] = {"mean", "geometric", "weighted"};
  for (const eval::EnsembleMetrics& ensemble : input.metrics.ensembles)
    table.row({fmt::format("all exits, {} ensemble", kNames[static_cast<int>(ensemble.kind)]),
               fixed(input.costs.back(), 3), percent(ensemble.accuracy, 2),
               percent(ensemble.accuracy_interval, 2), "", "", "", "", ""});
  return table.html();
}

}  // namespace

std::string exits_section(const ReportContext& context) {
  const std::vector<float> ones(static_cast<std::size_t>(context.exits()), 1.0f);
  const eval::Predictions raw(context.input.test, ones);
  bool any_scaled = false;
  std::vector<Bins> bins;
  std::string panels;
  for (int k = 0; k < context.exits(); ++k) {
    const auto at = static_cast<std::size_t>(k);
    bins.push_back(eval::reliability(raw, k).bins());
    const bool is_scaled = context.input.policy.policy.temperatures[at] != 1.0f;
    const eval::Reliability scaled = eval::reliability(context.predictions, k);
    const Bins scaled_bins = scaled.bins();
    any_scaled = any_scaled || is_scaled;
    panels += fmt::format("<div><h3>Exit {}, after {}</h3>\n{}{}</div>\n", k + 1,
                          escape(context.input.exit_units[at]),
                          metrics_sentence(context, k, is_scaled ? &scaled : nullptr),
                          diagram(bins.back(), is_scaled ? &scaled_bins : nullptr,
                                  context.predictions.images(), ReportContext::exit_name(k)));
  }
  std::string out = paragraph(
      "The accuracy of each exit, and whether its confidence can be trusted: of the images with a "
      "confidence of 80 %, 80 % should be classified correctly.");
  out += terms({{"ECE",
                 "expected calibration error: the mean gap between confidence and accuracy, "
                 "over 15 bins of confidence; 0 is perfect"},
                {"temperature",
                 "the number by which logits are divided before they become probabilities, "
                 "fitted on other images so that confidence agrees with accuracy"}});
  out += metrics_table(context);
  std::vector<LegendItem> items = {
      {box_swatch("good half"), "accuracy in the bin, % (no temperature)"},
      {line_swatch("rule"), "accuracy equal to confidence"},
      {box_swatch("gap"), "gap between accuracy and mean confidence"},
      {box_swatch("still half"), "share of the images"}};
  if (any_scaled)
    items.push_back(
        {marker_swatch(marker(Marker::circle, 13, 7, 4, "k")), "at the policy’s temperature"});
  out += figure(legend(items) + "<div class=\"panels\">" + panels + "</div>\n", bins_table(bins));
  return section("exits", "Accuracy and calibration of each exit", out);
}

}  // namespace offramp::report
