#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "offramp/guarantee.h"

namespace offramp::cli {

/// A certificate as every command prints it: {of, epsilon, delta, against, disagreement: null or a
/// bound, in_force: true, false or "unknown", why: null or a text}.
nlohmann::ordered_json guarantee_json(const Guarantee& guarantee);
/// The same for a model that may have no certificate: null.
nlohmann::ordered_json guarantee_json(const std::optional<Guarantee>& guarantee);

/// Returns "its certificate (harm ≤ 0.01 with probability ≥ 0.95) is not in force: why"; empty if
/// it is in force or if there is none.
std::string warning_of(const std::optional<Guarantee>& guarantee);

}  // namespace offramp::cli
