#pragma once

#include <string>

#include "model/format.h"
#include "policy/chosen_policy.h"

namespace offramp {

/// As JSON text of the version that is written, and back from any version that is read.
/// @throws Error naming the field
std::string policy_to_json(const ChosenPolicy& chosen);
ChosenPolicy policy_from_json(const std::string& text, int exits,
                              int version = kModelFormatVersion);

}  // namespace offramp
