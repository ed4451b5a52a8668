#include "cli/sweep_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/json_text.h"
#include "core/error.h"
#include "core/file.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

using workflow::EvaluateOptions;
using workflow::Evaluation;
using workflow::Sweep;
using workflow::SweptCurve;

json point_json(const eval::SweepPoint& point, const eval::SweepPoint& tune) {
  return {{"threshold", point.threshold},
          {"accuracy", point.accuracy},
          {"relative_cost", point.relative_cost},
          {"harm", point.harm},
          {"help", point.help},
          {"shares", point.shares},
          {"tune", {{"accuracy", tune.accuracy}, {"relative_cost", tune.relative_cost}}}};
}

std::string sweep_to_json(const EvaluateOptions& options, const Evaluation& result,
                          const Sweep& sweep) {
  json all = {{"model", options.model.string()},
              {"data", result.source},
              {"replayed", true},
              {"chosen_on", {{"part", "tune"}, {"images", sweep.tune_images}}},
              {"read_on", {{"part", to_string(options.part)}, {"images", sweep.images}}}};
  all["curves"] = json::array();
  for (const SweptCurve& curve : sweep.curves) {
    json points = json::array();
    for (std::size_t i = 0; i < curve.read.points.size(); ++i)
      points.push_back(point_json(curve.read.points[i], curve.tune.points[i]));
    all["curves"].push_back({{"criterion", to_string(curve.read.criterion)},
                             {"ensemble", to_string(curve.read.ensemble)},
                             {"points", std::move(points)}});
  }
  return json_text(all, 1);
}

std::string sweep_to_csv(const Sweep& sweep, std::size_t exits) {
  std::string text = "criterion,ensemble,threshold,accuracy,relative_cost,harm,help";
  for (std::size_t k = 0; k < exits; ++k) text += fmt::format(",share_{}", k + 1);
  text += ",tune_accuracy,tune_relative_cost,replayed\n";
  for (const SweptCurve& curve : sweep.curves)
    for (std::size_t i = 0; i < curve.read.points.size(); ++i) {
      const eval::SweepPoint &point = curve.read.points[i], &tune = curve.tune.points[i];
      text += fmt::format("{},{},{},{},{},{},{}", to_string(curve.read.criterion),
                          to_string(curve.read.ensemble), point.threshold, point.accuracy,
                          point.relative_cost, point.harm, point.help);
      for (const double share : point.shares) text += fmt::format(",{}", share);
      text += fmt::format(",{},{},true\n", tune.accuracy, tune.relative_cost);
    }
  return text;
}

}  // namespace

void check_sweep_names(const std::vector<std::string>& files) {
  for (const std::string& file : files)
    if (!file.ends_with(".json") && !file.ends_with(".csv"))
      throw UsageError(fmt::format("--sweep: expected a file ending in .json or .csv, got {}",
                                   core::quote(file)));
}

void write_sweep(const std::vector<std::string>& files, const EvaluateOptions& options,
                 const Evaluation& result) {
  for (const std::string& file : files)
    core::write_text_atomic(file, file.ends_with(".json")
                                      ? sweep_to_json(options, result, *result.sweep)
                                      : sweep_to_csv(*result.sweep, result.exit_units.size()));
}

}  // namespace offramp::cli
