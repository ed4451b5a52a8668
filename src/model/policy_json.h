#pragma once

#include <string>

#include "model/format.h"
#include "policy/chosen_policy.h"

namespace offramp::model {

/// Whether the JSON text of a policy says what the harm of its guarantee is counted against. It
/// does where an ensemble leaves a choice.
bool names_harm_reference(const policy::ChosenPolicy& chosen);

/// Writes a policy as JSON text in the newest version of the format.
std::string policy_to_json(const policy::ChosenPolicy& chosen);
/// Reads a policy from JSON text of any version that this program reads.
/// @param exits  number of exits of the network  @throws Error naming the field
policy::ChosenPolicy policy_from_json(const std::string& text, int exits,
                                      int version = kModelFormatVersion);

}  // namespace offramp::model
