#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "policy/aim.h"
#include "policy/chosen_policy.h"
#include "policy/logits.h"
#include "policy/policy.h"
#include "policy/thresholds.h"

namespace offramp::policy {

/// The parts of a policy that the user chooses; calibration fits the others.
struct PolicyOptions {
  Criterion criterion = Criterion::confidence;
  Ensemble ensemble = Ensemble::off;
};

/// Fits the temperatures, and the weights of a weighted ensemble, on the tune images. The result
/// has no thresholds.
Policy fit_policy(const PolicyOptions& shape, const LogitsView& tune);

/// Thresholds chosen on tune images.
struct ChosenThresholds {
  Policy policy;
  double accuracy = 0;       ///< accuracy on the tune images
  double relative_cost = 0;  ///< mean relative cost of the tune images
  bool met = true;  ///< false: no thresholds satisfy the aim, and the policy never stops early
  /// The cross-validated accuracy at this cost: each image is classified with thresholds chosen on
  /// other images. It has a value only for an AccuracyDrop or a MaxCost on more than one image.
  std::optional<double> held_out_accuracy = {};
};

/// Chooses thresholds for an aim on the tune images. For a HarmGuarantee see guarantee() and
/// predict_guarantee().
/// @param policy  the result of fit_policy()
/// @param costs  [K] relative cost of an image that stops at exit k; for an AccuracyDrop the costs
/// must not decrease from one exit to the next
/// @param reference_accuracy  the accuracy on the tune images from which the drop is measured
/// @throws Error if there is no image or sizes do not match
ChosenThresholds choose_thresholds(const Policy& policy, const LogitsView& tune,
                                   std::span<const double> costs, const FixedThreshold& aim);
ChosenThresholds choose_thresholds(const Policy& policy, const LogitsView& tune,
                                   std::span<const double> costs, const AccuracyDrop& aim,
                                   double reference_accuracy);
ChosenThresholds choose_thresholds(const Policy& policy, const LogitsView& tune,
                                   std::span<const double> costs, const MaxCost& aim);

/// The result of testing the policies of a path, one after the other, for a guarantee.
struct CertificationResult {
  Policy policy;     ///< the certified policy; it never stops early if no other was certified
  int attempt = 1;   ///< number of this certificate among those from the same images, from 1
  double level = 0;  ///< significance level of each test
  std::int64_t images = 0;               ///< number of certify images
  std::int64_t images_needed = 0;        ///< images needed to certify a policy that harms none
  std::int64_t path_length = 0;          ///< number of policies on the path
  std::optional<std::size_t> step = {};  ///< path index of the last policy that passed
  std::int64_t counted = 0;  ///< harmed images, or label-free those classified differently
  std::int64_t counted_never_stopping = 0;  ///< `counted` of step 0, which never stops early
  double upper_bound = 0;  ///< Clopper–Pearson bound of counted / images; ≤ epsilon
  /// The bound on images that are classified differently; only if harm was tested and a policy
  /// passed.
  std::optional<DisagreementBound> disagreement = {};
  CertifiedPath path = {};  ///< the steps to store; empty if no policy passed

  bool has_enough_images() const { return images >= images_needed; }
  /// Whether a policy that stops early was certified. Step 0 of the path never stops early.
  bool holds() const { return step && *step > 0; }
};

/// The share of an attempt's level that bounds the disagreement, where the aim is harm.
inline constexpr double kDisagreementShare = 0.02;

/// Returns the significance level at which an attempt tests the policies of the path for its aim:
/// the part of delta that the attempt may use, minus the part that the bound on disagreement uses
/// if the aim is harm.
double level_of_tests(const HarmGuarantee& aim, int attempt);

/// Computes the level of a certificate and how many images it needs, without reading any image. If
/// there are too few images, this result is final: nothing can be certified, and the caller need
/// not count an attempt.
/// @throws Error if epsilon or delta is not in (0, 1), or earlier attempts have used up delta
CertificationResult prepare_certification(const Policy& policy, const HarmGuarantee& aim,
                                          std::int64_t images, int attempt = 1);

/// Chooses a path of decreasing thresholds on the tune images and tests its policies in order on
/// the certify images. Harm compares with the answer that the aim names: that of the last exit
/// alone, also if the policy has an ensemble, or that of the ensemble of all exits. The certify
/// images decide only which step of the path is chosen. Their labels are not read if the aim is
/// label-free. If it is harm, the result also bounds how many images are classified differently,
/// for every step of the path at a level of kDisagreementShare of the attempt's, divided by the
/// number of steps: so it holds for the step that is chosen, and for all others too.
/// @param attempt  number of this certificate among those from the same certify images, from 1
/// @throws Error if there is no image, sizes do not match, epsilon or delta is not in (0, 1), the
/// aim names an ensemble and the policy has none, or earlier attempts have used up delta
CertificationResult guarantee(const Policy& policy, const LogitsView& tune,
                              const LogitsView& certify, std::span<const double> costs,
                              const HarmGuarantee& aim, int attempt = 1);

/// Converts a result to what a model file stores: the policy and its aim and, if the result holds,
/// the guarantee and the certified steps of the path. The guarantee is valid for the precision and
/// the kernels that computed the certify logits.
ChosenPolicy certified_policy(const CertificationResult& result, const HarmGuarantee& aim,
                              const std::string& precision, const std::string& kernels);

/// Returns [K, N]: 1 where stopping at exit k classifies image n correctly, otherwise 0.
std::vector<std::uint8_t> correct_table(const ExitPredictions& exit_predictions,
                                        std::span<const std::int64_t> labels);
/// Returns [N]: the classes that the harm of a policy is counted against.
std::vector<std::int64_t> reference_answers(const Policy& policy, const LogitsView& view,
                                            HarmReference against);
/// Returns [K, N]: 1 where stopping image n at exit k does no harm, otherwise 0. If `label_free`, 1
/// where exit k predicts the class of the reference. With an ensemble, exit K may do harm too: its
/// answer is that of the ensemble, which may differ from the last exit's own.
/// @param references  [N] from reference_answers()
std::vector<std::uint8_t> harmless_table(const ExitPredictions& exit_predictions,
                                         std::span<const std::int64_t> references,
                                         std::span<const std::int64_t> labels, bool label_free);

}  // namespace offramp::policy
