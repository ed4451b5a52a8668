#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace offramp {

/// Which values of a tensor 8 bits tell apart: [0, magnitude], or with a sign [-magnitude,
/// magnitude]. Values beyond saturate.
struct Range {
  float magnitude = 0;
  bool is_signed = false;
  bool operator==(const Range&) const = default;
};

/// What a range may be: steps, and what one is in steps of another, stay far from f32's limits.
inline constexpr float kLeastMagnitude = 1e-15f, kMostMagnitude = 1e15f;

/// By tensor: the input, and every image that an operation hands on.
using Ranges = std::map<std::string, Range, std::less<>>;

/// What a precision was seen to cost on tune images, at the last exit.
struct MeasuredLoss {
  std::int64_t images = 0;
  double agreement = 1;  ///< share of answers that are f32's
  double accuracy = 0, reference_accuracy = 0;
  double difference_low = 0, difference_high = 0;  ///< 95 %, paired: accuracy less reference
  bool operator==(const MeasuredLoss&) const = default;
};

/// What every exit said of a few images drawn from a seed, to be asked again where a file is
/// loaded.
struct StoredLogits {
  std::uint64_t seed = 0;
  std::vector<float> logits;  ///< [images, K, classes]; none: nothing to check
  bool operator==(const StoredLogits&) const = default;
};

/// The one precision that a deployment file holds.
struct Deployment {
  std::string precision;  ///< "bf16" or "int8"
  Ranges ranges;          ///< for int8
  MeasuredLoss measured;
  StoredLogits check;
  bool operator==(const Deployment&) const = default;
};

/// Whether the precision lost so little on tune that it may run where nobody asked for one: bf16
/// gave f32's answer to 99.5 % of the images and lost 0.1 point, int8 98.5 % and 0.3 point. One
/// image may be lost where that is more: few images cannot show less.
bool is_within_bounds(const Deployment& deployment);

/// As JSON text and back. @throws Error naming the field
std::string deployment_to_json(const Deployment& deployment);
Deployment deployment_from_json(const std::string& text);

}  // namespace offramp
