#pragma once

#include <cstdint>
#include <span>

#include "policy/calibration.h"
#include "policy/logits.h"
#include "policy/policy.h"

namespace offramp::policy {

/// Returns the largest number of harmed images, out of `images`, with which the test for `epsilon`
/// still passes at this level; -1 if it fails even with none.
std::int64_t max_certifiable_count(std::int64_t images, double epsilon, double level);

/// Predicts which policy guarantee() would choose, under the assumption that the certify images
/// behave like the tune images. It is the last policy on the path before the first whose rate on
/// the tune images is too high to be certified with `certify_images` images. Use it for choices
/// that are made before the certificate; the result itself is not certified.
/// @param certify_images  the number of certify images; the images themselves are not used
/// @return thresholds with `met` true if the policy stops early
ChosenThresholds predict_guarantee(const Policy& policy, const LogitsView& tune,
                                   std::span<const double> costs, const HarmGuarantee& aim,
                                   std::int64_t certify_images, int attempt = 1);

}  // namespace offramp::policy
