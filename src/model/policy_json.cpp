#include "model/policy_json.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "model/json_reader.h"

namespace offramp {
namespace {

constexpr std::size_t kMaxExits = 1000;
constexpr double kMostThreshold = 1e6;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// The shortest decimal that reads back as the same float.
double shortest(float value) {
  const double decimal = std::strtod(fmt::format("{}", value).c_str(), nullptr);
  return static_cast<float>(decimal) == value ? decimal : static_cast<double>(value);
}

Json numbers(const std::vector<float>& values) {
  Json result = Json::array();
  for (const float value : values) result.push_back(shortest(value));
  return result;
}

std::vector<float> read_floats(JsonFields& fields, std::string_view key, double low, double high) {
  std::vector<float> result;
  for (const double value : fields.numbers(key, low, high, kMaxExits))
    result.push_back(static_cast<float>(value));
  return result;
}

Thresholds read_thresholds(JsonFields& fields) {
  Thresholds result;
  const Json& array = fields.array("thresholds", kMaxExits);
  for (std::size_t i = 0; i < array.size(); ++i) {
    if (array[i].is_null()) {
      result.emplace_back();
      continue;
    }
    const double value = array[i].is_number() ? array[i].get<double>() : kNone;
    if (!(std::abs(value) <= kMostThreshold))
      throw Error("{}: expected null or a number from -{} to {}", fields.place_of("thresholds", i),
                  kMostThreshold, kMostThreshold);
    result.emplace_back(static_cast<float>(value));
  }
  return result;
}

template <typename Read>
auto read_word(JsonFields& fields, std::string_view key, Read&& read) {
  const std::string word = fields.text(key);
  try {
    return read(word);
  } catch (const Error& error) {
    throw Error("{}: {}", fields.place_of(key), error.what());
  }
}

Json to_json(const Guarantee& guarantee) {
  return {{"of", guarantee.of},
          {"epsilon", guarantee.epsilon},
          {"delta", guarantee.delta},
          {"level", guarantee.level},
          {"images", guarantee.images},
          {"counted", guarantee.counted},
          {"upper_bound", guarantee.upper_bound},
          {"precision", guarantee.precision},
          {"kernels", guarantee.kernels}};
}

Guarantee read_guarantee(const Json& json) {
  JsonFields fields(json, "guarantee");
  Guarantee guarantee;
  guarantee.of = fields.text("of");
  if (guarantee.of != "harm" && guarantee.of != "disagreement")
    throw Error("{}: got {}, expected harm or disagreement", fields.place_of("of"),
                quote(guarantee.of));
  guarantee.epsilon = fields.number("epsilon", 0, 1);
  guarantee.delta = fields.number("delta", 0, 1);
  // A test at a laxer level, or a bound above the rate, is no certificate of it.
  guarantee.level = fields.number("level", 0, guarantee.delta);
  guarantee.images = fields.integer("images", 1, std::int64_t{1} << 40);
  guarantee.counted = fields.integer("counted", 0, guarantee.images);
  guarantee.upper_bound = fields.number("upper_bound", 0, guarantee.epsilon);
  guarantee.precision = fields.text("precision");
  guarantee.kernels = fields.text("kernels");
  fields.finish();
  return guarantee;
}

ExitsSeen read_seen(const Json& json, int exits) {
  JsonFields fields(json, "seen");
  ExitsSeen seen;
  seen.images = fields.integer("images", 1, std::int64_t{1} << 40);
  seen.shares = fields.numbers("shares", 0, 1, kMaxExits);
  fields.finish();
  if (seen.shares.size() != static_cast<std::size_t>(exits))
    throw Error("{}: {} do not fit {} exits", fields.place_of("shares"), seen.shares.size(), exits);
  const double sum = std::accumulate(seen.shares.begin(), seen.shares.end(), 0.0);
  if (!(std::abs(sum - 1) < 1e-6))
    throw Error("{}: their sum is {}, expected 1", fields.place_of("shares"), sum);
  return seen;
}

}  // namespace

std::string policy_to_json(const ChosenPolicy& chosen) {
  const Policy& policy = chosen.policy;
  Json thresholds = Json::array();
  for (const std::optional<float>& threshold : policy.thresholds)
    thresholds.push_back(threshold ? Json(shortest(*threshold)) : Json(nullptr));
  Json json = {{"criterion", to_string(policy.criterion)},
               {"thresholds", thresholds},
               {"temperatures", numbers(policy.temperatures)},
               {"ensemble", to_string(policy.ensemble)},
               {"ensemble_weights", numbers(policy.ensemble_weights)},
               {"aim", chosen.aim},
               {"guarantee", chosen.guarantee ? to_json(*chosen.guarantee) : Json(nullptr)}};
  if (chosen.seen)
    json["seen"] = {{"images", chosen.seen->images}, {"shares", chosen.seen->shares}};
  return json.dump();
}

ChosenPolicy policy_from_json(const std::string& text, int exits) {
  const Json json = parse_json(text);
  JsonFields fields(json, "");
  ChosenPolicy chosen;
  Policy& policy = chosen.policy;
  policy.criterion = read_word(fields, "criterion", criterion_from_string);
  policy.thresholds = read_thresholds(fields);
  policy.temperatures = read_floats(fields, "temperatures", 0, 1e6);
  policy.ensemble = read_word(fields, "ensemble", ensemble_from_string);
  policy.ensemble_weights = read_floats(fields, "ensemble_weights", 0, 1e6);
  chosen.aim = fields.text("aim", 1000);
  if (const Json* guarantee = fields.object_or_null("guarantee"))
    chosen.guarantee = read_guarantee(*guarantee);
  if (fields.has("seen"))  // which files from before do not say
    chosen.seen = read_seen(fields.object("seen"), exits);
  fields.finish();
  check(policy, exits);
  return chosen;
}

}  // namespace offramp
