#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace offramp {

/// Which values of a tensor 8 bits tell apart: [0, magnitude], or with a sign [-magnitude,
/// magnitude]. Values beyond saturate.
struct Range {
  float magnitude = 0;
  bool is_signed = false;
  bool operator==(const Range&) const = default;
};

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

/// The one precision that a deployment file holds.
struct Deployment {
  std::string precision;  ///< "bf16" or "int8"
  Ranges ranges;          ///< for int8
  MeasuredLoss measured;
  bool operator==(const Deployment&) const = default;
};

/// As JSON text and back. @throws Error naming the field
std::string deployment_to_json(const Deployment& deployment);
Deployment deployment_from_json(const std::string& text);

}  // namespace offramp
