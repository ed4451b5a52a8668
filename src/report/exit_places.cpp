#include "report/exit_places.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "report/page.h"
#include "report/svg.h"
#include "report/table.h"
#include "report/text.h"

namespace offramp::report {
namespace {

constexpr Marker kMarkers[] = {Marker::circle, Marker::square, Marker::triangle, Marker::diamond,
                               Marker::star};

/// The kinds of heads, in the order in which they first occur.
std::vector<std::string> kinds_of(const ExitPlacesInput& input) {
  std::vector<std::string> kinds;
  for (const ExitPlace& place : input.places)
    if (std::ranges::find(kinds, place.kind) == kinds.end()) kinds.push_back(place.kind);
  return kinds;
}

Marker marker_of(const std::vector<std::string>& kinds, const std::string& kind) {
  const auto at = std::ranges::find(kinds, kind) - kinds.begin();
  return kMarkers[static_cast<std::size_t>(at) % std::size(kMarkers)];
}

double saved(const ExitPlace& place) { return place.met_alone ? 1 - place.cost_alone : 0; }

/// A value of each place over the depth of the network.
/// @param value  in [0, 1]
template <typename Value>
std::string chart(const ExitPlacesInput& input, double width, const std::string& name,
                  const Value& value, double line) {
  const std::vector<std::string> kinds = kinds_of(input);
  double low = std::max(line, 0.0), high = std::max(line, 0.0);
  for (const ExitPlace& place : input.places) {
    low = std::min(low, value(place));
    high = std::max(high, value(place));
  }
  const std::vector<double> y_ticks = ticks(low, std::max(high, low + 0.01), 5);
  const std::vector<double> x_ticks = {0, 0.25, 0.5, 0.75, 1};
  constexpr double kHeight = 300, kLeft = 56, kBottom = 46;
  const Frame frame{{0, 1, kLeft, width - 16},
                    {y_ticks.front(), y_ticks.back(), kHeight - kBottom, 12}};
  Svg svg(width, kHeight, name + " along the depth of the network");
  Axis x{x_ticks, {}, "relative cost of the layers up to the exit"}, y{y_ticks, {}, name + ", %"};
  for (const double tick : x_ticks) x.labels.push_back(tick_label(tick, 0.25));
  for (const double tick : y_ticks)
    y.labels.push_back(tick_label(100 * tick, 100 * (y_ticks[1] - y_ticks[0])));
  draw_axes(svg, frame, x, y);
  if (line >= 0)
    svg.add(polyline({{frame.x(0), frame.y(line)}, {frame.x(1), frame.y(line)}}, "rule"));
  for (const std::string& kind : kinds) {
    std::vector<std::pair<double, double>> points;
    for (const ExitPlace& place : input.places)
      if (place.kind == kind) points.emplace_back(frame.x(place.body_cost), frame.y(value(place)));
    svg.add(polyline(points, "grid"));
  }
  for (const ExitPlace& place : input.places) {
    const double at = frame.x(place.body_cost), height = frame.y(value(place));
    const Marker shape = marker_of(kinds, place.kind);
    svg.add(marker(shape, at, height, place.chosen ? 7 : 4, place.chosen ? "k" : "still"));
    svg.tooltip(
        {marker(Marker::ring, at, height, 8, "at"),
         at,
         height,
         {fmt::format("{} after {}{}", place.kind, place.name, place.chosen ? ", chosen" : ""),
          fmt::format("{} {}", input.label_free ? "agreement" : "accuracy",
                      percent(place.accuracy, 2)),
          fmt::format("cost alone {}", place.met_alone ? fixed(place.cost_alone, 3) : "–")},
         true});
  }
  return svg.str();
}

Table places_table(const ExitPlacesInput& input) {
  Table table("Every place and kind of head",
              {"place", "head", "cost of the layers", "of the head",
               input.label_free ? "agreement" : "accuracy", "cost with this exit alone", "chosen"},
              2);
  for (const ExitPlace& place : input.places)
    table.row({place.name, place.kind, fixed(place.body_cost, 3), fixed(place.head_cost, 4),
               percent(place.accuracy, 2),
               place.met_alone ? fixed(place.cost_alone, 3) : "no image may stop",
               place.chosen ? "yes" : ""});
  return table;
}

Table sizes_table(const ExitPlacesInput& input) {
  Table table("The best choice of each number of early exits", {"early exits", "relative cost"});
  for (std::size_t size = 0; size < input.best_of_size.size(); ++size)
    table.row({std::to_string(size), fixed(input.best_of_size[size], 3)});
  return table;
}

}  // namespace

std::string exit_places_html(const ExitPlacesInput& input) {
  const std::vector<std::string> kinds = kinds_of(input);
  std::vector<LegendItem> items;
  for (const std::string& kind : kinds)
    items.push_back({marker_swatch(marker(marker_of(kinds, kind), 13, 7, 4, "still")), kind});
  items.push_back({marker_swatch(marker(Marker::circle, 13, 7, 6, "k")), "chosen (large)"});
  std::string text;
  for (const std::string& sentence : input.sentences) text += paragraph(sentence);
  const std::string name = input.label_free ? "agreement with the last exit" : "accuracy";
  std::vector<LegendItem> with_line = items;
  with_line.push_back({line_swatch("rule"), "the last exit"});
  std::string body = fmt::format("<header>\n<h1>Exits of {}</h1>\n{}</header>\n<main>\n",
                                 escape(input.title), paragraph("Chosen for " + input.aim + "."));
  body += section("search", "What was chosen", text + sizes_table(input).html());
  body += section("accuracy", "Accuracy along the depth",
                  figure(legend(with_line) + at_both_widths([&](double width) {
                           return chart(
                               input, width, name,
                               [](const ExitPlace& place) { return place.accuracy; },
                               input.label_free ? 1 : input.last_accuracy);
                         }),
                         places_table(input)));
  body += section("saved", "Cost saved by one exit",
                  paragraph("The network with one early exit, whose threshold meets the aim: how "
                            "much of the network's cost it saves on average.") +
                      figure(legend(items) + at_both_widths([&](double width) {
                               return chart(input, width, "cost saved", saved, -1);
                             }),
                             places_table(input)));
  body +=
      "</main>\n<footer>Written by offramp exits. This file is complete: it loads nothing from the "
      "network and runs no script.</footer>\n";
  return document(input.title + " · offramp exits", "", body);
}

}  // namespace offramp::report
