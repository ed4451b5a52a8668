#include "cli/sweep_file.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "policy/calibration.h"
#include "policy/criteria.h"

namespace offramp::cli {
namespace {

using json = nlohmann::ordered_json;

constexpr int kThresholds = 1000;
constexpr std::array kEnsembles = {Ensemble::off, Ensemble::mean, Ensemble::geometric,
                                   Ensemble::weighted};

/// A curve on the images it is read on, and the same thresholds on those they were chosen on.
struct ReadCurve {
  Curve read, tune;
};

std::vector<ReadCurve> all_curves(const LogitsView& tune, const LogitsView& view,
                                  std::span<const double> costs) {
  std::vector<ReadCurve> curves;
  const std::vector<Criterion> criteria = all_criteria();
  // Temperatures are those of the exits, whatever is made of them.
  const Policy fitted = fit_policy({Criterion::confidence, Ensemble::weighted}, tune);
  for (const Ensemble ensemble : kEnsembles) {
    Policy shape = fitted;
    shape.ensemble = ensemble;
    if (ensemble != Ensemble::weighted) shape.ensemble_weights.clear();
    const auto thresholds = sweep_thresholds(shape, criteria, tune, kThresholds);
    auto read = sweep(shape, criteria, thresholds, view, costs);
    auto chosen = sweep(shape, criteria, thresholds, tune, costs);
    for (std::size_t i = 0; i < read.size(); ++i)
      curves.push_back({std::move(read[i]), std::move(chosen[i])});
  }
  return curves;
}

json point_json(const SweepPoint& point, const SweepPoint& tune) {
  return {{"threshold", point.threshold},
          {"accuracy", point.accuracy},
          {"relative_cost", point.relative_cost},
          {"harm", point.harm},
          {"help", point.help},
          {"shares", point.shares},
          {"tune", {{"accuracy", tune.accuracy}, {"relative_cost", tune.relative_cost}}}};
}

std::string as_json(const SweepFacts& facts, const std::vector<ReadCurve>& curves,
                    std::int64_t tune_images, std::int64_t images) {
  json all = {{"model", facts.model},
              {"data", facts.data},
              {"replayed", true},
              {"chosen_on", {{"part", "tune"}, {"images", tune_images}}},
              {"read_on", {{"part", facts.part}, {"images", images}}}};
  all["curves"] = json::array();
  for (const ReadCurve& curve : curves) {
    json points = json::array();
    for (std::size_t i = 0; i < curve.read.points.size(); ++i)
      points.push_back(point_json(curve.read.points[i], curve.tune.points[i]));
    all["curves"].push_back({{"criterion", to_string(curve.read.criterion)},
                             {"ensemble", to_string(curve.read.ensemble)},
                             {"points", std::move(points)}});
  }
  return all.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string as_csv(const std::vector<ReadCurve>& curves, std::size_t exits) {
  std::string text = "criterion,ensemble,threshold,accuracy,relative_cost,harm,help";
  for (std::size_t k = 0; k < exits; ++k) text += fmt::format(",share_{}", k + 1);
  text += ",tune_accuracy,tune_relative_cost,replayed\n";
  for (const ReadCurve& curve : curves)
    for (std::size_t i = 0; i < curve.read.points.size(); ++i) {
      const SweepPoint &point = curve.read.points[i], &tune = curve.tune.points[i];
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
      throw UsageError("--sweep: expected a file ending in .json or .csv, got {}", quote(file));
}

void write_sweeps(const std::vector<std::string>& files, const SweepFacts& facts,
                  const LogitsView& tune, const LogitsView& view, std::span<const double> costs) {
  const std::vector<ReadCurve> curves = all_curves(tune, view, costs);
  for (const std::string& file : files)
    write_text_atomic(file, file.ends_with(".json")
                                ? as_json(facts, curves, tune.images(), view.images())
                                : as_csv(curves, costs.size()));
}

}  // namespace offramp::cli
