#include "cli/guarantee_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "workflow/policy_choice.h"

namespace offramp::cli {

using json = nlohmann::ordered_json;

json guarantee_json(const Guarantee& guarantee) {
  json in_force = guarantee.in_force == InForce::yes;
  if (guarantee.in_force == InForce::unknown) in_force = "unknown";
  return {{"of", guarantee.of},
          {"epsilon", guarantee.epsilon},
          {"delta", guarantee.delta},
          {"against", guarantee.against},
          {"disagreement", guarantee.disagreement ? json(*guarantee.disagreement) : json(nullptr)},
          {"in_force", in_force},
          {"why", guarantee.why.empty() ? json(nullptr) : json(guarantee.why)}};
}

json guarantee_json(const std::optional<Guarantee>& guarantee) {
  return guarantee ? guarantee_json(*guarantee) : json(nullptr);
}

std::string warning_of(const std::optional<Guarantee>& guarantee) {
  if (!guarantee || guarantee->in_force != InForce::no) return "";
  return fmt::format("its certificate ({}) is not in force: {}",
                     policy::describe_bounds(
                         {guarantee->epsilon, guarantee->delta, guarantee->of == "disagreement"}),
                     guarantee->why);
}

}  // namespace offramp::cli
