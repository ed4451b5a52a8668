#pragma once

#include <array>
#include <cstdint>

namespace offramp {

inline constexpr int kReliabilityBins = 15;

/// The images of one bin of confidence.
struct ReliabilityBin {
  std::int64_t images = 0;
  double confidence = 0, accuracy = 0;  ///< means; 0 without images
};

/// Confidence against accuracy, in 15 bins of equal width: bin i holds confidences in
/// (i / 15, (i + 1) / 15], closed on the right as in Guo et al., 2017.
class Reliability {
 public:
  void add(double confidence, bool is_right);

  std::array<ReliabilityBin, kReliabilityBins> bins() const;
  /// The expected calibration error; there must be an image.
  double error() const;

 private:
  struct Sums {
    std::int64_t images = 0, right = 0;
    double confidence = 0;
  };
  std::array<Sums, kReliabilityBins> sums_{};
};

}  // namespace offramp
