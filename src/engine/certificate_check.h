#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_file.h"
#include "offramp/guarantee.h"
#include "policy/drift.h"
#include "runtime/precision.h"

namespace offramp::engine {

/// Whether the certificate of a model's policy is in force.
struct CertificateStatus {
  InForce in_force = InForce::no;
  std::string why;  ///< one line; empty if it is in force, or if the model has no certificate
  bool operator==(const CertificateStatus&) const = default;
};

/// Returns "in force", "not in force: why" or "not known to be in force: why".
std::string describe(const CertificateStatus& status);

/// The code that computes a model's logits on this machine.
struct RunningCode {
  runtime::Precision precision = runtime::Precision::f32;
  std::string kernels;     ///< runtime::kernels_name()
  std::string arithmetic;  ///< runtime::arithmetic_name(precision); empty: the precision has none
  /// Why the model runs in another precision than the one wanted, for example "this CPU has no
  /// instructions for int8"; empty if it runs in the wanted one.
  std::string fallback;
};

/// The guarantee as the library's interface gives it.
offramp::Guarantee to_public(const policy::Guarantee& guarantee, const CertificateStatus& status);

/// The certificate of an opened model. Thread-safe.
class CertificateCheck {
 public:
  /// Functions that status() may call. They take too long to be called when the model is opened.
  struct Evidence {
    /// Computes the logits [N, K, classes] of images [N, C, H, W], normalised.
    std::function<std::vector<float>(std::span<const float> images)> logits_of;
    /// Computes model::certified_hash() of the model's file, as it is at the time of the call.
    std::function<std::string()> hash;
  };

  /// Runs no image and computes no hash. @param model  must outlive the object
  CertificateCheck(const model::ModelFile& model, const RunningCode& code, Evidence evidence);

  /// The guarantee that was certified for the code that runs here: the guarantee of the file, or,
  /// where `offramp verify` compared this code with the certified one, the same with rho added to
  /// epsilon and alpha added to delta. nullopt if the model has none.
  const std::optional<policy::Guarantee>& guarantee() const { return guarantee_; }
  /// Whether the hash of the model is the certified one. A model without a certificate, and one of
  /// an earlier program, which stored no hash, count as unchanged.
  bool is_unchanged() const;
  /// The status as far as it is known without the work of status().
  CertificateStatus so_far() const;
  /// The status. The first call computes the hash of the weights and compares it with the
  /// certificate's. If the certificate names an arithmetic, it then runs the images that the file
  /// stores and compares their logits, bit for bit. Calls from other threads wait for it.
  CertificateStatus status() const;

 private:
  CertificateStatus checked() const;
  CertificateStatus compare_stored_images() const;

  const model::ModelFile& model_;
  Evidence evidence_;
  std::optional<policy::Guarantee> guarantee_;
  CertificateStatus known_;  // the status as far as it is known without the work of status()
  bool compares_images_ = false;
  mutable std::once_flag once_;
  mutable std::atomic<bool> is_checked_{false};
  mutable CertificateStatus after_check_;  // written before is_checked_ is set
};

/// Withdraws a certificate if the images stop at other exits than those on which the policy was
/// chosen: the certificate is for images like those only.
/// @param drift   nullopt: the file does not hold at which exits those images stopped
/// @param images  number of images in the comparison
CertificateStatus with_drift(CertificateStatus status,
                             const std::optional<policy::DriftVerdict>& drift, double images);

}  // namespace offramp::engine
