#pragma once

#include <array>
#include <cstdint>

namespace offramp::eval {

inline constexpr int kReliabilityBins = 15;

/// The images whose confidence lies in one bin.
struct ReliabilityBin {
  std::int64_t images = 0;
  double confidence = 0, accuracy = 0;  ///< means over the images; 0 without images
};

/// Collects confidence and accuracy in 15 bins of equal width. Bin i holds confidences in
/// (i / 15, (i + 1) / 15], closed on the right as in Guo et al., 2017.
class Reliability {
 public:
  /// Adds one image.
  void add(double confidence, bool is_correct);

  std::array<ReliabilityBin, kReliabilityBins> bins() const;
  /// Returns the expected calibration error. At least one image must have been added.
  double error() const;

 private:
  struct Sums {
    std::int64_t images = 0, correct = 0;
    double confidence = 0;
  };
  std::array<Sums, kReliabilityBins> sums_{};
};

}  // namespace offramp::eval
