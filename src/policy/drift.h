#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace offramp::policy {

/// The shares of recent images that stopped at each exit. The weight of an image decays
/// exponentially with every later one, so a change shows however many images came before it.
class ExitWindow {
 public:
  /// @param memory  the number of later images after which an image has about 1/e of the weight of
  /// a new one; above 1
  explicit ExitWindow(int exits, double memory = 2000);

  /// Adds an image that stopped at this exit.
  void add(int exit_index);

  /// Returns [K] the weighted share of each exit; all are 0 before the first image.
  std::vector<double> shares() const;
  /// Returns the effective sample size (Σw)² / Σw² (Kish, 1965): the number of images of equal
  /// weight that carry as much information. It is at most about twice `memory`.
  double images() const;

 private:
  double decay_;
  std::vector<double> weights_;  // [K]
  double squares_ = 0;
};

/// When a difference between two histograms of exits counts as drift: it must be both statistically
/// significant and large enough to matter.
struct DriftRule {
  /// Significance level of the test. It is small because the test is repeated often, and because
  /// the histogram to compare with comes from the images that the thresholds were chosen on.
  double level = 1e-4;
  /// The smallest total variation distance that counts: the share of images that stop at another
  /// exit.
  double least_distance = 0.05;
  /// Least number of images of each histogram; with fewer the verdict is `unknown`.
  double least_images = 200;
};

enum class Drift {
  unknown,  ///< too few images to compare, or no histogram to compare with
  none,
  drifted,
};

std::string_view to_string(Drift drift);

struct DriftVerdict {
  Drift drift = Drift::unknown;
  double p_value = 1;   ///< p-value of the test: probability of such a difference without drift
  double distance = 0;  ///< total variation distance: half the sum over the exits of |now - then|
};

/// Compares at which exits images stop now with where they stopped when the policy was chosen, with
/// Pearson's χ² test of homogeneity. An exit with an expected count below 5 is merged with the next
/// (Cochran, 1954). The test looks at the network's output rather than its input, which Rabanser et
/// al. (Failing Loudly, 2019) found to detect shifts best.
/// @param now, then  [K] share of images that stopped at each exit
/// @param now_images, then_images  the number of images behind each of the two
DriftVerdict compare_exits(std::span<const double> now, double now_images,
                           std::span<const double> then, double then_images,
                           const DriftRule& rule = {});

/// Returns P(X ≥ x) for X with a χ² distribution. @param degrees  degrees of freedom, at least 1
double chi_square_tail(double x, int degrees);

}  // namespace offramp::policy
