#include "serve/image_rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/numbers.h"

namespace offramp::serve {
namespace {

constexpr double kDayMs = 86400e3;

[[noreturn]] void refuse(std::string_view name, std::string_view expected) {
  throw HttpError(400, fmt::format("parameter {}: expected {}", name, expected));
}

}  // namespace

std::optional<Stop> ImageRule::stop_after(double waited_ms, const Stop& by_default) const {
  if (!deadline_ms) return stop;
  return stop.value_or(by_default).and_within(std::max(0.001, *deadline_ms - waited_ms));
}

bool ImageRuleReader::read(std::string_view name, std::string_view text) {
  if (name == "stop") {
    if (text != "policy" && text != "last") refuse(name, "\"policy\" or \"last\"");
    to_last_ = text == "last";
    return true;
  }
  return set(name, core::parse_number<double>(text).value_or(NAN));
}

bool ImageRuleReader::read(std::string_view name, const RequestJson& value) {
  if (value.is_string()) return read(name, std::string_view(value.get_ref<const std::string&>()));
  if (name == "stop") refuse(name, "\"policy\" or \"last\"");
  return set(name, value.is_number() ? value.get<double>() : NAN);
}

bool ImageRuleReader::set(std::string_view name, double value) {
  const auto whole = [&](double least, double most) {
    if (!(value >= least && value <= most) || value != std::floor(value))
      refuse(name, fmt::format("a whole number from {} to {}", least, most));
    return static_cast<int>(value);
  };
  if (name == "threshold") {
    if (!(value >= 0 && value <= 1)) refuse(name, "a number from 0 to 1");
    threshold_ = static_cast<float>(value);
  } else if (name == "step") {
    step_ = whole(0, 1000);
  } else if (name == "deadline_ms") {
    if (!(value > 0 && value <= kDayMs)) refuse(name, "milliseconds above 0, at most a day");
    rule_.deadline_ms = value;
  } else if (name == "timeout") {
    if (!(value >= 0 && value <= kDayMs * 1e3)) refuse(name, "microseconds, at most a day");
    if (value > 0) rule_.deadline_ms = value / 1e3;
  } else if (name == "priority") {
    const int priority = whole(0, 9);
    if (priority > 0) rule_.priority = priority;
  } else if (name == "top_k") {
    rule_.top_k = whole(1, 1000);
  } else {
    return false;
  }
  return true;
}

ImageRule ImageRuleReader::rule() const {
  if ((threshold_ ? 1 : 0) + (to_last_ ? 1 : 0) + (step_ ? 1 : 0) > 1)
    throw HttpError(400, "parameters stop, step and threshold: expected at most one of them");
  ImageRule rule = rule_;
  if (threshold_) rule.stop = Stop::at_threshold(*threshold_);
  if (step_) rule.stop = Stop::at_step(*step_);
  if (to_last_) rule.stop = *to_last_ ? Stop::never() : Stop::by_policy();
  return rule;
}

}  // namespace offramp::serve
