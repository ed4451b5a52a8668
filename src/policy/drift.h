#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace offramp {

/// At which exits images leave, of late: every image counts, an old one ever less, so that a change
/// shows after however long a time without one.
class ExitWindow {
 public:
  /// @param memory  after this many images one counts 1/e of a new one; above 1
  explicit ExitWindow(int exits, double memory = 2000);

  void add(int exit_index);

  /// [K] weighted shares; zeros before the first image.
  std::vector<double> shares() const;
  /// How many images of equal weight would tell as much: (Σw)² / Σw² (Kish, 1965). At most about
  /// twice the memory.
  double images() const;

 private:
  double keep_;
  std::vector<double> weights_;  // [K]
  double squares_ = 0;
};

/// When a difference of two histograms of exits is called a drift: when chance would hardly make
/// it, and when it is large enough to matter.
struct DriftRule {
  /// Of the test. Small: it is looked at again and again, and the histogram it is compared with
  /// comes from the images that the thresholds were chosen on.
  double level = 1e-4;
  /// Least share of the images that leave elsewhere (total variation distance).
  double least_distance = 0.05;
  double least_images = 200;  ///< on either side; fewer say nothing
};

enum class Drift {
  unknown,  ///< too few images, or nothing to compare with
  none,
  drifted,
};

std::string_view to_string(Drift drift);

struct DriftVerdict {
  Drift drift = Drift::unknown;
  double p_value = 1;   ///< of a difference this large by chance
  double distance = 0;  ///< total variation: half the sum of |share - share|
};

/// Compares where images leave with where they left when the policy was chosen: Pearson's χ² test
/// of homogeneity. Exits with an expected count below 5 are joined to the next (Cochran, 1954).
/// Testing what a network answers rather than its inputs is what Rabanser et al. (Failing Loudly,
/// 2019) found to see shifts best.
/// @param now, then  [K] shares  @param now_images, then_images  how many they speak of
DriftVerdict compare_exits(std::span<const double> now, double now_images,
                           std::span<const double> then, double then_images,
                           const DriftRule& rule = {});

/// P(X ≥ x) for X of the χ² distribution. @param degrees  of freedom, at least 1
double chi_square_tail(double x, int degrees);

}  // namespace offramp
