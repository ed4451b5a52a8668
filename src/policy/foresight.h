#pragma once

#include <cstdint>
#include <span>

#include "policy/calibration.h"
#include "policy/logits.h"
#include "policy/policy.h"

namespace offramp {

/// What guarantee() would choose were the certify images like the tune images: the boldest policy
/// before the path's first whose rate on tune is above what so many images can certify. For
/// choices that come before the certificate; it promises nothing.
/// @param certify_images  how many there are; nothing is known of them
/// @return `met` if the policy stops early at all
Chosen foresee_guarantee(const Policy& policy, const LogitsView& tune,
                         std::span<const double> costs, const HarmGuarantee& aim,
                         std::int64_t certify_images, int attempt = 1);

}  // namespace offramp
