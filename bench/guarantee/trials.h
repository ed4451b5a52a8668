#pragma once

#include <cstdint>
#include <vector>

#include "policy/calibration.h"

namespace offramp::trials {

/// A distribution of images with known probabilities. A policy's rate of harm on it is computed
/// exactly, as a sum.
struct Population {
  int exits = 0, classes = 0;
  std::vector<float> logits;         ///< [K, M, classes]
  std::vector<std::int64_t> labels;  ///< [M]
  std::vector<double> cumulative;    ///< [M] sums of probabilities up to 1; empty: all are equal
  std::vector<double> costs;         ///< [K] relative cost of each exit

  policy::LogitsView view() const { return {logits, labels, exits, classes}; }
  double probability(std::size_t image) const;
};

/// Returns a model of the logits of three exits over five classes, which consists of 8,000 kinds of
/// images. An image has a difficulty d, uniform and common to all exits. At exit k the logit of its
/// label exceeds that of one other class, the same at all exits, by 8 * (c_k - d) ± 0.8, with c =
/// 0.72, 0.86, 0.97 and a sign per exit. So the errors of early exits are correlated, and later
/// exits correct some of them. For one image in 25 exits 1 and 2 predict the other class, with a
/// confidence that is higher the easier the image is.
Population correlated_exits();

/// Returns a population with two exits and two classes in which exit 1 has only two scores. Half of
/// the images have the high score; of all images, the share `rate` has it although exit 1 is wrong
/// and the last exit correct. On images with the low score, exit 1 is wrong too often to stop
/// there. So the path contains only one policy of interest, whose true rate of harm is `rate`.
Population two_score_population(double rate);

/// Returns 5,000 images with three classes and three exits whose errors are largely independent, so
/// that many thresholds look good on few images by chance. At exit k the logit of the label exceeds
/// that of one other class by 8 * (c_k - d) + e, with c = 0.7, 0.8, 0.9. The difficulty d, uniform
/// in [0, 1], is common to all exits; the noise e, uniform in [-4, 4], is drawn for each exit.
Population independent_exits();

/// Returns a population of all images of saved logits, with equal probabilities.
Population population_of_logits(const policy::LogitsView& saved, std::vector<double> costs);

/// The settings of a trial.
struct TrialSettings {
  std::int64_t tune_images = 0, certify_images = 0;
  double epsilon = 0, delta = 0;
  bool label_free = false;
  std::vector<policy::PolicyOptions> shapes;  ///< certified one after the other on the same images
  /// What the harm of shapes with an ensemble is counted against.
  policy::HarmReference against = policy::HarmReference::last_exit;
};

/// The result of one way to choose a policy.
struct Result {
  bool violated = false;  ///< the true rate of harm of the chosen policy is above epsilon
  double saved = 0;       ///< 1 - true mean relative cost
};
/// The results for one draw of tune and certify images.
struct Trial {
  /// guarantee(): violated if the certificate of any shape is; the cost is that of the first shape.
  Result ours;
  Result hoeffding;  ///< the same path and tests with Hoeffding's bound for the binomial
  Result empirical;  ///< the last policy of the path whose rate on certify is at most epsilon
};

/// Draws tune and certify images and chooses a policy in each way. The result depends on the
/// arguments alone.
Trial run_trial(const Population& population, const TrialSettings& settings, std::uint64_t seed,
                std::uint64_t draw);

/// Runs trials 0 … draws - 1 on all cores.
std::vector<Trial> run_trials(const Population& population, const TrialSettings& settings,
                              std::uint64_t seed, int draws);

/// The effect on new images of thresholds that were chosen for a drop in accuracy.
struct DropOutcome {
  double drop = 0;  ///< true accuracy of exit K minus that of the policy
  double cost = 0;  ///< true mean relative cost
};
/// The results for one draw of tune images.
struct DropTrial {
  DropOutcome ours;      ///< choose_thresholds()
  DropOutcome fitted;    ///< the same path, with the drop measured on the images it was chosen on
  DropOutcome searched;  ///< search_each() for the cheapest thresholds within the drop on tune
};

/// Draws tune images and chooses thresholds for an accuracy at most `drop` below that of exit K on
/// tune. Runs trials 0 … draws - 1 on all cores.
std::vector<DropTrial> run_drop_trials(const Population& population, std::int64_t tune_images,
                                       double drop, std::uint64_t seed, int draws);

struct BoundaryImages {
  std::int64_t images = 0;
  double violations = 0;  ///< exact probability that the policy is certified
};
/// Finds the number of certify images, from `least` to `most`, at which a policy with the rate of
/// harm `rate`, slightly above epsilon, is certified most often. The probability depends on this
/// number because counts are whole numbers, so the level delta is not reached exactly.
BoundaryImages boundary_images(double rate, double epsilon, double delta, std::int64_t least,
                               std::int64_t most);

}  // namespace offramp::trials
