#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "policy/guarantee.h"
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

/// What is wanted of thresholds. Exactly one has a value.
struct ThresholdAim {
  std::optional<float> threshold = {};  ///< this one at every early exit
  /// As bold as a path of thresholds allows with at least this accuracy, also held out:
  /// cross_fit().
  std::optional<double> least_accuracy = {};
  std::optional<double> most_relative_cost = {};  ///< most accurate with at most this mean cost
};

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

/// @param policy  from fit_policy  @param costs  [K] relative cost of an image that stops at exit
/// k; they must not fall from one exit to the next where an accuracy is the aim
/// @throws Error if there is no image or sizes do not fit
Chosen choose_thresholds(const Policy& policy, const LogitsView& tune,
                         std::span<const double> costs, const ThresholdAim& aim);

/// What a guarantee bounds.
struct GuaranteeAim {
  double epsilon = 0, delta = 0;  ///< in (0, 1)
  bool label_free = false;        ///< rate of disagreement with exit K rather than of harm
  int attempt = 1;                ///< of the certificates drawn from these images, from 1
};

/// A policy with what was certified of it.
struct CertifiedPolicy {
  Policy policy;                       ///< never stops early where nothing could be certified
  std::optional<Certified> certified;  ///< index on the path, count and bound
  double level = 0;                    ///< at which each test was made
  std::int64_t images = 0;
  std::int64_t path = 0;           ///< policies on the path
  std::int64_t images_needed = 0;  ///< to certify a faultless one
};

/// Lays a path of ever bolder thresholds on tune and certifies along it on other images.
/// Harm is measured against exit K's answer under the same policy: with an ensemble, the ensemble
/// of all exits. Labels of `certify` are read only where the aim is not label-free; its answers
/// decide nothing but how far along the path the policy lies.
/// @throws Error if there is no image, sizes do not fit, epsilon or delta is not in (0, 1), or so
/// many attempts were made that nothing of delta is left
CertifiedPolicy guarantee(const Policy& policy, const LogitsView& tune, const LogitsView& certify,
                          std::span<const double> costs, const GuaranteeAim& aim);

/// [K, N] 1 where stopping at exit k names the image right.
std::vector<std::uint8_t> right_table(const Judgements& judged,
                                      std::span<const std::int64_t> labels);
/// [K, N] 1 where stopping at exit k does no harm, or, label-free, gives exit K's answer.
std::vector<std::uint8_t> harmless_table(const Judgements& judged,
                                         std::span<const std::int64_t> labels, bool label_free);

}  // namespace offramp
