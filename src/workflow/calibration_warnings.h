#pragma once

#include <string>
#include <vector>

#include "policy/aim.h"
#include "policy/logits.h"
#include "policy/policy.h"

namespace offramp::workflow {

/// Checks that an accuracy drop can be seen on the tune images.
/// @throws UsageError "max_drop: …" if it is above 0 and less than one of the images
void check_visible(const policy::Aim& aim, std::int64_t tune_images);

/// Returns a sentence for each sign that a policy cannot be trusted: an accuracy drop below the
/// standard error of the measured difference, a temperature at the end of its search range, a last
/// exit that is less accurate than an earlier one, an exit that is not measurably better than
/// always predicting the most frequent class.
/// @param standard_error  standard error of the difference in accuracy to the last exit on the tune
///                        images
std::vector<std::string> calibration_warnings(const policy::Aim& aim, const policy::Policy& policy,
                                              const policy::LogitsView& tune,
                                              double standard_error);

}  // namespace offramp::workflow
