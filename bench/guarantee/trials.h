#pragma once

#include <cstdint>
#include <vector>

#include "policy/calibration.h"

namespace offramp::trials {

/// Images with known probabilities. A policy's rate on it is a sum, not an estimate.
struct Population {
  int exits = 0, classes = 0;
  std::vector<float> logits;         ///< [K, M, classes]
  std::vector<std::int64_t> labels;  ///< [M]
  std::vector<double> cumulative;    ///< [M] rising to 1; empty where all are as probable
  std::vector<double> costs;         ///< [K] relative

  LogitsView view() const { return {logits, labels, exits, classes}; }
  double probability(std::size_t image) const;
};

/// A generative model of the logits of three exits over five classes, made of 8,000 kinds of
/// images. An image has a difficulty d, uniform, which all its exits share; exit k puts its label
/// before one rival class, the same at all exits, by 8 (c_k - d) ± 0.8 with c = 0.72, 0.86, 0.97
/// and a sign per exit: so early exits err where later ones do not, and mostly together. One image
/// in 25 is a trap: exits 1 and 2 both name the rival, the surer the easier the image.
Population correlated_exits();

/// Two exits over two classes, exit 1 with but two scores: sure of half of the images, wrong with
/// `rate` of all and the last exit right; unsure of the others, and wrong too often. So the path
/// has one policy of interest, whose true rate of harm is `rate`.
Population two_scores(double rate);

/// 5,000 images with three classes and three exits that err each by itself: many thresholds look
/// good on few images by chance. Exit k puts the label before one rival class by 8 (c_k - d) ± 4
/// with c = 0.7, 0.8, 0.9, a difficulty d that the exits share, and noise that they do not, all
/// uniform.
Population independent_exits();

/// Every image of saved logits, as probable as any other.
Population pool_of(const LogitsView& saved, std::vector<double> costs);

/// What is done with every draw.
struct Plan {
  std::int64_t tune_images = 0, certify_images = 0;
  double epsilon = 0, delta = 0;
  bool label_free = false;
  std::vector<PolicyShape> shapes;  ///< each certified in turn from the same images
};

/// What one way to choose brought.
struct Result {
  bool violated = false;  ///< the true rate of what it chose is above epsilon
  double saved = 0;       ///< 1 - true mean relative cost
};
/// One draw of tune and certify images.
struct Trial {
  Result ours;  ///< guarantee(); violated where any of the shapes' certificates is, cost of the
                ///< first
  Result hoeffding;  ///< the same path and tests with Hoeffding's bound for the binomial
  Result empirical;  ///< the boldest policy of the path whose rate on certify is at most epsilon
};

/// Draws tune and certify images and chooses. Depends on its arguments alone.
Trial run_trial(const Population& population, const Plan& plan, std::uint64_t seed,
                std::uint64_t draw);

/// Trials 0 … draws - 1, on all cores.
std::vector<Trial> run_trials(const Population& population, const Plan& plan, std::uint64_t seed,
                              int draws);

/// What thresholds chosen for a drop in accuracy do to new images.
struct DropOutcome {
  double drop = 0;  ///< true accuracy of exit K less that of the policy
  double cost = 0;  ///< true mean relative cost
};
/// One draw of tune images.
struct DropTrial {
  DropOutcome ours;      ///< choose_thresholds()
  DropOutcome fitted;    ///< the same path, kept to the drop on the images it was laid on alone
  DropOutcome searched;  ///< search_each() for the cheapest that keep to the drop on tune
};

/// Draws tune images and chooses thresholds for a drop of at most `drop` below exit K on tune.
/// Trials 0 … draws - 1, on all cores.
std::vector<DropTrial> run_drop_trials(const Population& population, std::int64_t tune_images,
                                       double drop, std::uint64_t seed, int draws);

/// How many images to certify with so that a policy with harm `rate`, just above epsilon, is
/// certified most often: counts are whole numbers, so the level is not quite reached.
struct BoundaryImages {
  std::int64_t images = 0;
  double violations = 0;  ///< probability that the policy is certified, exactly
};
BoundaryImages boundary_images(double rate, double epsilon, double delta, std::int64_t least,
                               std::int64_t most);

}  // namespace offramp::trials
