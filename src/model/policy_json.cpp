#include "model/policy_json.h"

#include <cmath>
#include <limits>
#include <string_view>

#include "core/error.h"
#include "core/numbers.h"
#include "model/json_reader.h"
#include "policy/binomial.h"

namespace offramp::model {
namespace {

constexpr std::size_t kMaxVerified = 100;
constexpr std::size_t kMaxExits = 1000;
// The largest number of steps of a path that is read. At most kMaxPathSteps + 1 are written.
constexpr std::size_t kMaxSteps = 1000;
constexpr double kMostThreshold = 1e6;
constexpr double kMostCost = 1e9;
constexpr std::int64_t kMostImages = std::int64_t{1} << 40;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Json numbers(const std::vector<float>& values) {
  Json result = Json::array();
  for (const float value : values) result.push_back(core::shortest_decimal(value));
  return result;
}

Json to_json(const policy::Thresholds& thresholds) {
  Json result = Json::array();
  for (const std::optional<float>& threshold : thresholds)
    result.push_back(threshold ? Json(core::shortest_decimal(*threshold)) : Json(nullptr));
  return result;
}

std::vector<float> read_floats(JsonFields& fields, std::string_view key, double low, double high) {
  std::vector<float> result;
  for (const double value : fields.numbers(key, low, high, kMaxExits))
    result.push_back(static_cast<float>(value));
  return result;
}

policy::Thresholds read_thresholds(JsonFields& fields) {
  policy::Thresholds result;
  const Json& array = fields.array("thresholds", kMaxExits);
  for (std::size_t i = 0; i < array.size(); ++i) {
    if (array[i].is_null()) {
      result.emplace_back();
      continue;
    }
    const double value = array[i].is_number() ? array[i].get<double>() : kNone;
    if (!(std::abs(value) <= kMostThreshold))
      throw Error(fmt::format("{}: expected null or a number from -{} to {}",
                              fields.place_of("thresholds", i), kMostThreshold, kMostThreshold));
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
    throw Error(fmt::format("{}: {}", fields.place_of(key), error.what()));
  }
}

// The values of "kind" that distinguish aims in a file.
constexpr std::string_view kThreshold = "threshold", kAccuracyDrop = "accuracy_drop",
                           kCost = "cost", kGuarantee = "guarantee";

/// @param with_against  whether a guarantee names what harm is counted against
Json to_json(const policy::Aim& aim, bool with_against) {
  struct Writer {
    bool with_against;
    Json operator()(const policy::FixedThreshold& of) const {
      return {{"kind", kThreshold}, {"threshold", of.threshold}};
    }
    Json operator()(const policy::AccuracyDrop& of) const {
      return {{"kind", kAccuracyDrop},
              {"max_drop", of.max_drop},
              {"reference", of.reference.empty() ? Json(nullptr) : Json(of.reference)}};
    }
    Json operator()(const policy::MaxCost& of) const {
      return {{"kind", kCost}, {"max_relative_cost", of.max_relative_cost}};
    }
    Json operator()(const policy::HarmGuarantee& of) const {
      Json json = {{"kind", kGuarantee},
                   {"epsilon", of.epsilon},
                   {"delta", of.delta},
                   {"label_free", of.label_free}};
      if (with_against) json["against"] = to_string(of.against);
      return json;
    }
  };
  Json json = std::visit(Writer{with_against}, aim);
  json["cost_unit"] = to_string(policy::cost_unit_of(aim));
  return json;
}

/// Reads what harm is counted against. Files that do not say it were written when the reference was
/// the answer of exit K under the policy: that of the ensemble, if there is one.
policy::HarmReference read_against(JsonFields& fields, policy::Ensemble ensemble) {
  if (fields.has("against"))
    return read_word(fields, "against", policy::harm_reference_from_string);
  return ensemble == policy::Ensemble::off ? policy::HarmReference::last_exit
                                           : policy::HarmReference::ensemble;
}

policy::Aim read_aim(const Json& json, const policy::Policy& policy) {
  JsonFields fields(json, "aim");
  const auto number = [&](std::string_view key) { return fields.number(key, -1e300, 1e300); };
  const policy::CostUnit unit = read_word(fields, "cost_unit", policy::cost_unit_from_string);
  const std::string kind = fields.text("kind");
  policy::Aim aim;
  if (kind == kThreshold) {
    aim = policy::FixedThreshold{number("threshold"), unit};
  } else if (kind == kAccuracyDrop) {
    const std::string reference = fields.is_null("reference") ? "" : fields.text("reference", 1000);
    aim = policy::AccuracyDrop{number("max_drop"), reference, unit};
  } else if (kind == kCost) {
    aim = policy::MaxCost{number("max_relative_cost"), unit};
  } else if (kind == kGuarantee) {
    aim = policy::HarmGuarantee{number("epsilon"), number("delta"), fields.boolean("label_free"),
                                unit, read_against(fields, policy.ensemble)};
  } else {
    throw Error(fmt::format("{}: got {}, expected {}, {}, {} or {}", fields.place_of("kind"),
                            core::quote(kind), kThreshold, kAccuracyDrop, kCost, kGuarantee));
  }
  fields.finish();
  try {
    check(aim, policy.criterion);
  } catch (const Error& error) {
    throw Error(fmt::format("aim.{}", error.what()));
  }
  return aim;
}

/// Parses the aim of a file of version 1, a text of command-line flags, in exactly the form in
/// which the program wrote it. Any other text was written by hand and is ignored.
class Version1Aim {
 public:
  explicit Version1Aim(std::string_view text) : rest_(text) {}

  std::optional<policy::Aim> read() {
    constexpr std::string_view kMeasured = " --cost ms";
    policy::CostUnit unit = policy::CostUnit::macs;
    if (rest_.ends_with(kMeasured)) {
      unit = policy::CostUnit::ms;
      rest_.remove_suffix(kMeasured.size());
    }
    std::optional<policy::Aim> aim;
    if (const auto threshold = take("--threshold ")) {
      aim = policy::FixedThreshold{*threshold, unit};
    } else if (const auto drop = take("--max-accuracy-drop ")) {
      aim = policy::AccuracyDrop{*drop, take_reference(), unit};
    } else if (const auto cost = take("--max-cost ")) {
      aim = policy::MaxCost{*cost, unit};
    } else if (const auto epsilon = take("--guarantee ")) {
      const double delta = take(" --delta ").value_or(0.05);
      const bool label_free = rest_ == " --label-free";
      if (label_free) rest_ = {};
      aim = policy::HarmGuarantee{*epsilon, delta, label_free, unit};
    }
    return rest_.empty() ? aim : std::nullopt;
  }

 private:
  /// Returns the number that follows a flag, if the flag comes next in the text.
  std::optional<double> take(std::string_view flag) {
    if (!rest_.starts_with(flag)) return std::nullopt;
    std::string_view rest = rest_.substr(flag.size());
    const auto value = core::take_number<double>(rest);
    if (value) rest_ = rest;
    return value;
  }

  /// Returns a file name. It may contain spaces, so it extends to the end of the text.
  std::string take_reference() {
    constexpr std::string_view kFlag = " --reference ";
    if (!rest_.starts_with(kFlag)) return "";
    std::string name(rest_.substr(kFlag.size()));
    rest_ = {};
    return name;
  }

  std::string_view rest_;
};

std::optional<policy::Aim> aim_of_version_1(const std::string& text, const policy::Policy& policy) {
  std::optional<policy::Aim> aim = Version1Aim(text).read();
  if (auto* harm = aim ? std::get_if<policy::HarmGuarantee>(&*aim) : nullptr;
      harm && policy.ensemble != policy::Ensemble::off)
    harm->against = policy::HarmReference::ensemble;
  try {
    if (aim) check(*aim, policy.criterion);
    return aim;
  } catch (const Error&) {
    return std::nullopt;
  }
}

Json to_json(const policy::CertifiedPath& path) {
  Json steps = Json::array();
  for (const policy::PathStep& step : path.steps) {
    Json json = {{"thresholds", to_json(step.thresholds)},
                 {"counted", step.counted},
                 {"accuracy", step.accuracy},
                 {"relative_cost", step.relative_cost}};
    if (step.disagreed) json["disagreed"] = *step.disagreed;
    steps.push_back(std::move(json));
  }
  return {{"chosen", path.chosen}, {"steps", std::move(steps)}};
}

policy::CertifiedPath read_path(const Json& json) {
  JsonFields fields(json, "path");
  policy::CertifiedPath path;
  path.chosen =
      static_cast<std::size_t>(fields.integer("chosen", 0, static_cast<std::int64_t>(kMaxSteps)));
  const Json& steps = fields.array("steps", kMaxSteps);
  for (std::size_t m = 0; m < steps.size(); ++m) {
    JsonFields of_step(steps[m], fields.place_of("steps", m));
    policy::PathStep step;
    step.thresholds = read_thresholds(of_step);
    step.counted = of_step.integer("counted", 0, kMostImages);
    step.accuracy = of_step.number("accuracy", 0, 1);
    step.relative_cost = of_step.number("relative_cost", 0, kMostCost);
    if (of_step.has("disagreed")) step.disagreed = of_step.integer("disagreed", 0, kMostImages);
    of_step.finish();
    path.steps.push_back(std::move(step));
  }
  fields.finish();
  return path;
}

Json to_json(const policy::Guarantee& guarantee, bool with_against) {
  Json json = {{"of", guarantee.of},
               {"epsilon", guarantee.epsilon},
               {"delta", guarantee.delta},
               {"level", guarantee.level},
               {"images", guarantee.images},
               {"counted", guarantee.counted},
               {"upper_bound", guarantee.upper_bound},
               {"precision", guarantee.precision},
               {"kernels", guarantee.kernels}};
  if (with_against) json["against"] = to_string(guarantee.against);
  if (!guarantee.hash.empty()) json["hash"] = guarantee.hash;
  if (const auto& disagreement = guarantee.disagreement)
    json["disagreement"] = {{"level", disagreement->level},
                            {"counted", disagreement->counted},
                            {"upper_bound", disagreement->upper_bound}};
  return json;
}

std::string read_hash(JsonFields& fields) {
  std::string hash = fields.text("hash");
  if (hash.size() != 16 || hash.find_first_not_of("0123456789abcdef") != hash.npos)
    throw Error(fmt::format("{}: got {}, expected 16 hexadecimal digits", fields.place_of("hash"),
                            core::quote(hash)));
  return hash;
}

policy::DisagreementBound read_disagreement(const Json& json, const policy::Guarantee& guarantee) {
  JsonFields fields(json, "guarantee.disagreement");
  policy::DisagreementBound bound;
  // The test of the disagreement uses the part of delta that the tests of harm leave.
  bound.level = fields.number("level", 0, guarantee.delta - guarantee.level);
  if (!(bound.level > 0 && bound.level < 1))
    throw Error(fmt::format("{}: got {}, expected a number between 0 and 1",
                            fields.place_of("level"), bound.level));
  bound.counted = fields.integer("counted", 0, guarantee.images);
  bound.upper_bound = fields.number("upper_bound", 0, 1);
  const double expected =
      policy::clopper_pearson_upper(bound.counted, guarantee.images, bound.level);
  if (!(std::abs(bound.upper_bound - expected) <= 1e-9))
    throw Error(fmt::format("{}: got {}, but {} of {} images at level {} give {}",
                            fields.place_of("upper_bound"), bound.upper_bound, bound.counted,
                            guarantee.images, bound.level, expected));
  fields.finish();
  return bound;
}

policy::Guarantee read_guarantee(const Json& json, policy::Ensemble ensemble) {
  JsonFields fields(json, "guarantee");
  policy::Guarantee guarantee;
  guarantee.of = fields.text("of");
  if (guarantee.of != "harm" && guarantee.of != "disagreement")
    throw Error(fmt::format("{}: got {}, expected harm or disagreement", fields.place_of("of"),
                            core::quote(guarantee.of)));
  guarantee.epsilon = fields.number("epsilon", 0, 1);
  guarantee.delta = fields.number("delta", 0, 1);
  // A test at a level above delta, or a bound above epsilon, does not certify epsilon at delta.
  guarantee.level = fields.number("level", 0, guarantee.delta);
  guarantee.images = fields.integer("images", 1, kMostImages);
  guarantee.counted = fields.integer("counted", 0, guarantee.images);
  guarantee.upper_bound = fields.number("upper_bound", 0, guarantee.epsilon);
  guarantee.precision = fields.text("precision");
  guarantee.kernels = fields.text("kernels");
  guarantee.against = read_against(fields, ensemble);
  if (fields.has("hash")) guarantee.hash = read_hash(fields);
  if (fields.has("disagreement")) {
    if (guarantee.of != "harm")
      throw Error(fmt::format("{}: is allowed only in a guarantee of harm",
                              fields.place_of("disagreement")));
    guarantee.disagreement = read_disagreement(fields.object("disagreement"), guarantee);
  }
  fields.finish();
  return guarantee;
}

Json to_json(const std::vector<policy::Verified>& verified) {
  Json entries = Json::array();
  for (const policy::Verified& one : verified)
    entries.push_back({{"precision", one.precision},
                       {"kernels", one.kernels},
                       {"images", one.images},
                       {"differing", one.differing},
                       {"alpha", one.alpha},
                       {"rho", one.rho}});
  return entries;
}

std::vector<policy::Verified> read_verified(JsonFields& fields,
                                            const std::optional<policy::Guarantee>& guarantee) {
  const Json& entries = fields.array("verified", kMaxVerified);
  if (!guarantee)
    throw Error(
        fmt::format("{}: needs a guarantee, and there is none", fields.place_of("verified")));
  std::vector<policy::Verified> verified;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    JsonFields entry(entries[i], fields.place_of("verified", i));
    policy::Verified one;
    one.precision = entry.text("precision");
    one.kernels = entry.text("kernels");
    one.images = entry.integer("images", 1, kMostImages);
    one.differing = entry.integer("differing", 0, one.images);
    one.alpha = entry.number("alpha", 0, 1 - guarantee->delta);
    one.rho = entry.number("rho", 0, 1 - guarantee->epsilon);
    // A valid upper bound is not below the observed rate.
    if (one.rho < static_cast<double>(one.differing) / static_cast<double>(one.images))
      throw Error(fmt::format("{}: {} is below the observed rate", entry.place_of("rho"), one.rho));
    entry.finish();
    verified.push_back(std::move(one));
  }
  return verified;
}

policy::TuneExitShares read_seen(const Json& json) {
  JsonFields fields(json, "seen");
  policy::TuneExitShares seen;
  seen.images = fields.integer("images", 1, kMostImages);
  seen.shares = fields.numbers("shares", 0, 1, kMaxExits);
  fields.finish();
  return seen;
}

}  // namespace

bool names_harm_reference(const policy::ChosenPolicy& chosen) {
  const auto* aim = chosen.aim ? std::get_if<policy::HarmGuarantee>(&*chosen.aim) : nullptr;
  const bool has_ensemble = chosen.policy.ensemble != policy::Ensemble::off ||
                            (aim && aim->against == policy::HarmReference::ensemble);
  return has_ensemble && (aim || chosen.guarantee);
}

std::string policy_to_json(const policy::ChosenPolicy& chosen) {
  const policy::Policy& policy = chosen.policy;
  const bool with_against = names_harm_reference(chosen);
  Json json = {
      {"criterion", to_string(policy.criterion)},
      {"thresholds", to_json(policy.thresholds)},
      {"temperatures", numbers(policy.temperatures)},
      {"ensemble", to_string(policy.ensemble)},
      {"ensemble_weights", numbers(policy.ensemble_weights)},
      {"aim", chosen.aim ? to_json(*chosen.aim, with_against) : Json(nullptr)},
      {"guarantee", chosen.guarantee ? to_json(*chosen.guarantee, with_against) : Json(nullptr)}};
  if (chosen.seen)
    json["seen"] = {{"images", chosen.seen->images}, {"shares", chosen.seen->shares}};
  if (chosen.path) json["path"] = to_json(*chosen.path);
  if (!chosen.verified.empty()) json["verified"] = to_json(chosen.verified);
  return json.dump();
}

policy::ChosenPolicy policy_from_json(const std::string& text, int exits, int version) {
  const Json json = parse_json(text);
  JsonFields fields(json, "");
  policy::ChosenPolicy chosen;
  policy::Policy& policy = chosen.policy;
  policy.criterion = read_word(fields, "criterion", policy::criterion_from_string);
  policy.thresholds = read_thresholds(fields);
  policy.temperatures = read_floats(fields, "temperatures", 0, 1e6);
  policy.ensemble = read_word(fields, "ensemble", policy::ensemble_from_string);
  policy.ensemble_weights = read_floats(fields, "ensemble_weights", 0, 1e6);
  if (version == 1)
    chosen.aim = aim_of_version_1(fields.text("aim", 1000), policy);
  else if (const Json* aim = fields.object_or_null("aim"))
    chosen.aim = read_aim(*aim, policy);
  if (const Json* guarantee = fields.object_or_null("guarantee"))
    chosen.guarantee = read_guarantee(*guarantee, policy.ensemble);
  if (fields.has("seen"))  // older files do not have this field
    chosen.seen = read_seen(fields.object("seen"));
  if (version >= 2 && fields.has("path")) chosen.path = read_path(fields.object("path"));
  if (version >= 2 && fields.has("verified"))
    chosen.verified = read_verified(fields, chosen.guarantee);
  fields.finish();
  check(chosen, exits);
  return chosen;
}

}  // namespace offramp::model
