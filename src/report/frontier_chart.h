#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/metrics.h"
#include "report/svg.h"

namespace offramp::report {

/// A mark in the chart: one way to classify the images. Strings are not escaped.
struct FrontierPoint {
  std::string name;
  double cost = 0, accuracy = 0;
  std::optional<eval::Interval> interval;  ///< interval of the accuracy
  Marker shape = Marker::circle;
  std::string label;                   ///< text beside the mark, left out if there is no room
  std::string badge;                   ///< text inside the mark
  std::string css;                     ///< CSS classes of the mark
  std::vector<std::string> note = {};  ///< lines of its tooltip
};

/// A curve of accuracy against cost.
struct FrontierCurve {
  /// A point with a tooltip.
  struct Note {
    double cost = 0, accuracy = 0;
    std::vector<std::string> lines;
  };
  std::string name;
  int colour = 0;  ///< number of the colour in the style sheet, 0 to 7
  std::vector<std::pair<double, double>> points;  ///< cost, accuracy
  std::vector<Note> notes;
};

/// Draws accuracy against relative cost as SVG. @param width  in pixels
std::string frontier_chart(const std::vector<FrontierPoint>& points,
                           const std::vector<FrontierCurve>& curves, double width);
/// The legend of the chart: an item for each mark and each curve.
std::string frontier_legend(const std::vector<FrontierPoint>& points,
                            const std::vector<FrontierCurve>& curves);

}  // namespace offramp::report
