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

namespace offramp {

/// Criterion and ensemble that a policy is to have; the rest is fitted.
struct PolicyShape {
  Criterion criterion = Criterion::confidence;
  Ensemble ensemble = Ensemble::off;
};

/// Temperatures, and the weights of a weighted ensemble, fitted on tune images; no thresholds.
Policy fit_policy(const PolicyShape& shape, const LogitsView& tune);

/// Thresholds chosen on tune images.
struct Chosen {
  Policy policy;
  double accuracy = 0;       ///< on the images it was chosen on
  double relative_cost = 0;  ///< mean, on the same
  bool met = true;           ///< else nothing keeps to the aim, and the policy never stops early
  /// Where an accuracy was the aim: with thresholds of this cost laid on other images than they are
  /// judged on. Not of one image.
  std::optional<double> held_out_accuracy = {};
};

/// Chooses thresholds on tune images for an aim; for a HarmGuarantee see guarantee() and
/// foresee_guarantee().
/// @param policy  from fit_policy  @param costs  [K] relative cost of an image that stops at exit
/// k; they must not fall from one exit to the next where an accuracy is the aim
/// @param reference_accuracy  on tune, that an AccuracyDrop is measured from
/// @throws Error if there is no image or sizes do not fit
Chosen choose_thresholds(const Policy& policy, const LogitsView& tune,
                         std::span<const double> costs, const FixedThreshold& aim);
Chosen choose_thresholds(const Policy& policy, const LogitsView& tune,
                         std::span<const double> costs, const AccuracyDrop& aim,
                         double reference_accuracy);
Chosen choose_thresholds(const Policy& policy, const LogitsView& tune,
                         std::span<const double> costs, const MaxCost& aim);

/// The result of testing a path of policies for a guarantee.
struct CertificationResult {
  Policy policy;                   ///< never stops early where nothing could be certified
  int attempt = 1;                 ///< which of the certificates drawn from these images, from 1
  double level = 0;                ///< at which each test was made
  std::int64_t images = 0;         ///< certify images
  std::int64_t images_needed = 0;  ///< to certify a policy that harms none of them
  std::int64_t path_length = 0;    ///< policies on the path
  std::optional<std::size_t> step = {};  ///< index on the path of the last that passed its test
  std::int64_t counted = 0;              ///< images that this policy harms or answers otherwise
  double upper_bound = 0;                ///< Clopper–Pearson bound of that rate; ≤ epsilon
  CertifiedPath path = {};               ///< to be stored; without steps where none passed

  bool has_enough_images() const { return images >= images_needed; }
  /// Whether a policy that stops early was certified: the path begins with one that never does.
  bool holds() const { return step && *step > 0; }
};

/// The result before any image was looked at: its level, and how many images it takes. Where they
/// are too few, it is final: nothing can be certified and no attempt needs to be spent.
/// @throws Error if epsilon or delta is not in (0, 1), or nothing of delta is left for the attempt
CertificationResult prepare_certification(const Policy& policy, const HarmGuarantee& aim,
                                          std::int64_t images, int attempt = 1);

/// Lays a path of ever bolder thresholds on tune and certifies along it on other images.
/// Harm is measured against exit K's answer under the same policy: with an ensemble, the ensemble
/// of all exits. Labels of `certify` are read only where the aim is not label-free; its answers
/// decide nothing but how far along the path the policy lies.
/// @param attempt  which certificate this is of those drawn from these images, from 1
/// @throws Error if there is no image, sizes do not fit, epsilon or delta is not in (0, 1), or so
/// many attempts were made that nothing of delta is left
CertificationResult guarantee(const Policy& policy, const LogitsView& tune,
                              const LogitsView& certify, std::span<const double> costs,
                              const HarmGuarantee& aim, int attempt = 1);

/// What a model file keeps of a result: the policy and its aim and, where the result holds, the
/// guarantee for the precision and the kernels of the certify logits and the path of certified
/// steps.
ChosenPolicy certified_policy(const CertificationResult& result, const HarmGuarantee& aim,
                              const std::string& precision, const std::string& kernels);

/// [K, N] 1 where stopping at exit k names the image right.
std::vector<std::uint8_t> right_table(const Judgements& judged,
                                      std::span<const std::int64_t> labels);
/// [K, N] 1 where stopping at exit k does no harm, or, label-free, gives exit K's answer.
std::vector<std::uint8_t> harmless_table(const Judgements& judged,
                                         std::span<const std::int64_t> labels, bool label_free);

}  // namespace offramp
