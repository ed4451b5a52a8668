#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace offramp::model {

/// The range of values that an 8-bit tensor represents: [0, magnitude], or [-magnitude, magnitude]
/// if it is signed. Values outside are clamped to the nearest end.
struct ActivationRange {
  float magnitude = 0;
  bool is_signed = false;
  bool operator==(const ActivationRange&) const = default;
};

/// The limits of a range's magnitude. Within them, quantisation steps and ratios of steps stay far
/// from the limits of f32.
inline constexpr float kMinMagnitude = 1e-15f, kMaxMagnitude = 1e15f;

/// The range of every tensor by its name: of the input, and of every output of an operation that is
/// stored in 8 bits.
using ActivationRanges = std::map<std::string, ActivationRange, std::less<>>;

/// The loss of a precision compared with f32, measured at the last exit on the tune images.
struct MeasuredLoss {
  std::int64_t images = 0;                      ///< number of tune images
  double agreement = 1;                         ///< share of images with the same class as in f32
  double accuracy = 0, reference_accuracy = 0;  ///< accuracy in this precision, and in f32
  /// The paired 95 % interval of accuracy - reference_accuracy.
  double difference_low = 0, difference_high = 0;
  bool operator==(const MeasuredLoss&) const = default;
};

/// The precision of a deployment file and its measurements.
struct Deployment {
  std::string precision;    ///< "bf16" or "int8"
  ActivationRanges ranges;  ///< ranges of the activations; only for int8
  MeasuredLoss measured;
  bool operator==(const Deployment&) const = default;
};

/// Whether the precision loses so little that it may be used by default. For bf16, at least 99.5 %
/// of the tune images must get the same class as in f32, and the accuracy may drop by at most 0.1
/// percentage points; for int8 these bounds are 98.5 % and 0.3 points. A single image may always be
/// lost, because a small number of images cannot show a smaller loss.
bool is_within_bounds(const Deployment& deployment);

/// Writes a deployment as JSON text.
std::string deployment_to_json(const Deployment& deployment);
/// Reads a deployment from JSON text. @throws Error naming the field
Deployment deployment_from_json(const std::string& text);

}  // namespace offramp::model
