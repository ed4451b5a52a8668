#include "model/deployment.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "model/json_reader.h"

namespace offramp::model {
namespace {

constexpr std::size_t kMaxTensors = 10'000;
constexpr std::size_t kMaxNameBytes = 1000;

Json to_json(const ActivationRanges& ranges) {
  Json array = Json::array();
  for (const auto& [tensor, range] : ranges)
    array.push_back(
        {{"tensor", tensor}, {"magnitude", range.magnitude}, {"signed", range.is_signed}});
  return array;
}

ActivationRanges read_ranges(JsonFields& fields) {
  ActivationRanges ranges;
  const Json& array = fields.array("ranges", kMaxTensors);
  for (std::size_t i = 0; i < array.size(); ++i) {
    JsonFields entry(array[i], fields.place_of("ranges", i));
    const std::string tensor = entry.text("tensor", kMaxNameBytes);
    const ActivationRange range{
        static_cast<float>(entry.number("magnitude", kMinMagnitude, kMaxMagnitude)),
        entry.boolean("signed")};
    entry.finish();
    if (!ranges.emplace(tensor, range).second)
      throw Error(
          fmt::format("{}: {} appears twice", fields.place_of("ranges", i), core::quote(tensor)));
  }
  return ranges;
}

Json to_json(const MeasuredLoss& measured) {
  return {{"images", measured.images},
          {"agreement", measured.agreement},
          {"accuracy", measured.accuracy},
          {"reference_accuracy", measured.reference_accuracy},
          {"difference_interval", {measured.difference_low, measured.difference_high}}};
}

MeasuredLoss read_measured(const Json& json) {
  JsonFields fields(json, "measured");
  MeasuredLoss measured;
  measured.images = fields.integer("images", 0, std::int64_t{1} << 40);
  measured.agreement = fields.number("agreement", 0, 1);
  measured.accuracy = fields.number("accuracy", 0, 1);
  measured.reference_accuracy = fields.number("reference_accuracy", 0, 1);
  const auto interval = fields.numbers("difference_interval", -1, 1, 2);
  fields.finish();
  if (interval.size() != 2)
    throw Error(fmt::format("{}: got {} values, expected 2", fields.place_of("difference_interval"),
                            interval.size()));
  measured.difference_low = interval[0];
  measured.difference_high = interval[1];
  return measured;
}

}  // namespace

bool is_within_bounds(const Deployment& deployment) {
  const MeasuredLoss& measured = deployment.measured;
  const bool int8 = deployment.precision == "int8";
  if (measured.images <= 0) return false;
  const double least_agreement = int8 ? 0.985 : 0.995;
  const double most_lost = std::max(int8 ? 0.003 : 0.001, 1 / static_cast<double>(measured.images));
  // The tolerance allows for rounding: a loss equal to the bound is still allowed.
  constexpr double kRounding = 1e-9;
  return measured.agreement >= least_agreement - kRounding &&
         measured.reference_accuracy - measured.accuracy <= most_lost + kRounding;
}

std::string deployment_to_json(const Deployment& deployment) {
  return Json({{"precision", deployment.precision},
               {"ranges", to_json(deployment.ranges)},
               {"measured", to_json(deployment.measured)}})
      .dump();
}

Deployment deployment_from_json(const std::string& text) {
  const Json json = parse_json(text);
  JsonFields fields(json, "");
  Deployment deployment;
  deployment.precision = fields.text("precision");
  if (deployment.precision != "bf16" && deployment.precision != "int8")
    throw Error(fmt::format("{}: got {}, expected bf16 or int8", fields.place_of("precision"),
                            core::quote(deployment.precision)));
  deployment.ranges = read_ranges(fields);
  deployment.measured = read_measured(fields.object("measured"));
  // Older files hold the logits of two drawn images here, which were compared at opening.
  if (fields.has("check")) fields.object("check");
  fields.finish();
  if ((deployment.precision == "int8") == deployment.ranges.empty())
    throw Error(fmt::format("{}: {}", fields.place_of("ranges"),
                            deployment.ranges.empty() ? "precision int8 needs at least one"
                                                      : "only precision int8 may have ranges"));
  return deployment;
}

}  // namespace offramp::model
