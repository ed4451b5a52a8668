#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/metrics.h"
#include "report/svg.h"

namespace offramp::report {

/// One way to classify, as a mark. Texts are not escaped.
struct FrontierPoint {
  std::string name;
  double cost = 0, accuracy = 0;
  std::optional<Interval> interval;  ///< of the accuracy
  Marker shape = Marker::circle;
  std::string label;  ///< beside the mark where there is room
  std::string badge;  ///< inside the mark
  std::string css;
  std::vector<std::string> note = {};
};

struct FrontierCurve {
  struct Note {
    double cost = 0, accuracy = 0;
    std::vector<std::string> lines;
  };
  std::string name;
  int colour = 0;
  std::vector<std::pair<double, double>> points;  ///< cost, accuracy
  std::vector<Note> notes;
};

std::string frontier_chart(const std::vector<FrontierPoint>& points,
                           const std::vector<FrontierCurve>& curves, double width);
std::string frontier_legend(const std::vector<FrontierPoint>& points,
                            const std::vector<FrontierCurve>& curves);

}  // namespace offramp::report
