#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eval/policy_metrics.h"
#include "eval/worst_class.h"
#include "model/model_file.h"
#include "policy/aim.h"
#include "policy/calibration.h"
#include "policy/chosen_policy.h"
#include "workflow/open_model.h"

namespace offramp::workflow {

struct CalibrateOptions {
  std::filesystem::path model;
  std::string data;                  ///< the data set the model was trained on, see load_data
  std::filesystem::path out = {};    ///< empty: the model's own file
  policy::PolicyOptions shape = {};  ///< criterion and ensemble
  policy::Aim aim = policy::FixedThreshold{};  ///< AccuracyDrop::reference is set from `reference`
  std::filesystem::path reference = {};  ///< AccuracyDrop only: the model to compare accuracy with
  bool worst_class = false;              ///< HarmGuarantee only: also find the class with most harm
  /// The answers of the model's last exit take the place of the labels, which are not read. The
  /// data may have other classes than the model. A HarmGuarantee must be label-free too.
  bool label_free = false;
  bool drop_useless_exits = false;  ///< remove early exits without which the aim is met as well
  RunOptions run = {};

  /// The file that the result is written to.

  const std::filesystem::path& written_to() const { return out.empty() ? model : out; }
};

/// @throws UsageError that names the field whose value is not allowed, alone or beside another
void check(const CalibrateOptions& options);

/// The cost of an image that stops at each exit.
struct ExitCosts {
  std::vector<double> relative;  ///< [K] divided by the plain network's MACs or last exit's time
  std::vector<double> ms;        ///< [K] measured milliseconds per image; empty if MACs are used
};

/// Results of a policy on the tune images, on which it was chosen, replayed from logits.
struct TuneResult {
  std::int64_t images = 0;
  std::int64_t missing = 0;  ///< images that the model lists and the data do not contain
  double last_accuracy = 0;  ///< accuracy of the last exit alone
  /// The standard error of the policy's accuracy minus the last exit's, see
  /// eval::paired_standard_error().
  double standard_error = 0;
  std::optional<double> held_out_accuracy;  ///< see ChosenThresholds
  eval::PolicyMetrics metrics;
};

/// The result of certifying a policy on the model's certify images.
struct Certification {
  /// False: there are too few images, so none was evaluated and no attempt was counted.
  bool was_attempted = false;
  std::int64_t missing = 0;  ///< number of images that the model lists and the data do not contain
  std::int64_t copies = 0;   ///< exact copies of other certify images, which were left out
  policy::CertificationResult result;
  std::optional<eval::WorstClass> worst;  ///< if it was asked for and the guarantee holds
};

/// The policy that was chosen and written, with its results.
struct Calibration {
  policy::ChosenPolicy chosen;
  bool met = true;  ///< false: no policy meets the aim, and the written one never stops early
  ExitCosts costs;
  /// What harm and help on tune are counted against.
  policy::HarmReference against = policy::HarmReference::last_exit;
  TuneResult tune;
  std::optional<double> least_accuracy;        ///< accuracy on tune that an AccuracyDrop requires
  std::optional<Certification> certification;  ///< the certification, for a HarmGuarantee
  std::vector<int> dropped;  ///< removed exits: 0-based indices in the original model
  bool training_state_dropped =
      false;  ///< training state was not copied, because exits were removed
  std::optional<std::string> replaced;  ///< aim of the policy that this one replaced in the file
  std::vector<std::string> warnings;    ///< signs that the policy cannot be trusted, for people
  std::vector<std::string> classes;
  std::string precision, kernels;  ///< precision and kernels of the run that computed the logits
};

/// Chooses a policy on the model's tune images and writes it. For a guarantee, it then certifies
/// the policy once on the certify images; this attempt is counted in the model's own file before
/// any certify image is evaluated.
/// @throws UsageError as check(); Error if the data do not contain the model's images, the model
/// was trained on them, or a file cannot be written; Cancelled
Calibration calibrate(const CalibrateOptions& options, const Progress& progress = {});

/// The same for a model `derived`, which was made from the one in `options.model` and is not in a
/// file yet. The result is written to `options.out`; an attempt to certify is counted in
/// `options.model`, because it uses that model's certify images.
Calibration calibrate(const CalibrateOptions& options, model::ModelFile derived,
                      const Progress& progress = {});

}  // namespace offramp::workflow
