#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "engine/certificate_check.h"
#include "policy/chosen_policy.h"
#include "policy/drift.h"
#include "policy/logits.h"
#include "workflow/open_model.h"

namespace offramp::workflow {

struct VerifyOptions {
  std::filesystem::path model;
  std::string data;  ///< images like those that the model is used for, see load_data
  /// The logits of these images from the certified code, as `offramp test --save-logits` writes
  /// them where the certificate is in force; empty: nothing is compared.
  std::filesystem::path logits = {};
  double alpha = 0.01;        ///< level of the bound, in (0, 1)
  bool skip_trained = false;  ///< leave out images that the model was trained on; false: refuse
  RunOptions run = {};
  std::string command = "verify";  ///< the name under which test_reads.jsonl records the run
};

/// Whether a certificate is in force here.
struct Verification {
  std::string precision, kernels;  ///< precision and kernels of the run
  std::int64_t images = 0;
  std::int64_t copies = 0;  ///< number of exact copies of other images, which were left out
  policy::Guarantee given;  ///< the guarantee as certified
  std::optional<policy::Guarantee> guarantee;  ///< the guarantee for the code that runs here
  engine::CertificateStatus certificate;       ///< status of the certificate for these images
  std::optional<policy::DriftVerdict> drift;
  /// The comparison that was made now and written to the file.
  std::optional<policy::Verified> verified;
};

/// The number of images for which a policy's answer or the last exit's answer differs between two
/// sets of logits of the same images. An image for which both are equal is harmed with either of
/// them or with none.
std::int64_t differing_outcomes(const policy::Policy& policy, const policy::LogitsView& certified,
                                const policy::LogitsView& here);

/// Tells whether the certificate of a model is in force here, for images like the given ones. With
/// the logits of the certified code, bounds how often the outcome differs here and writes this to
/// the model's file: the certificate is then in force here too, with a larger bound.
/// @throws UsageError if alpha is not allowed; Error "<path>: …" if the model has no certificate,
/// or the logits are not those of these images from the certified code; TrainedOnImages; Cancelled
Verification verify(const VerifyOptions& options, const Progress& progress = {});

}  // namespace offramp::workflow
