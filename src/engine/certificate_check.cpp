#include "engine/certificate_check.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "image/image.h"

namespace offramp::engine {
namespace {

constexpr const char* kNotChecked =
    "the weights and the images that the file stores have not been checked yet: this is done when "
    "the guarantee is first asked for";

constexpr const char* kChanged =
    "the weights, the policy or other parts of the model are not those that were certified";

std::vector<float> normalised(const model::StoredImages& stored,
                              const core::Preprocessing& preprocessing) {
  const std::size_t size = stored.pixels.size() / static_cast<std::size_t>(stored.count);
  std::vector<float> images(stored.pixels.size());
  for (std::size_t first = 0; first < images.size(); first += size)
    image::normalise(std::span(stored.pixels).subspan(first, size), preprocessing,
                     std::span(images).subspan(first, size));
  return images;
}

std::string other_precision(const policy::Guarantee& given, const RunningCode& code) {
  const std::string_view here = to_string(code.precision);
  if (!code.fallback.empty())
    return fmt::format("{}: the model runs in {}, for which nothing was certified", code.fallback,
                       here);
  return fmt::format(
      "the model runs in {}, for which nothing was certified; its certificate is "
      "for {}",
      here, given.precision);
}

}  // namespace

std::string describe(const CertificateStatus& status) {
  switch (status.in_force) {
    case InForce::yes:
      return "in force";
    case InForce::no:
      return "not in force: " + status.why;
    case InForce::unknown:
      return "not known to be in force: " + status.why;
  }
  return "";
}

offramp::Guarantee to_public(const policy::Guarantee& guarantee, const CertificateStatus& status) {
  return {.of = guarantee.of,
          .epsilon = guarantee.epsilon,
          .delta = guarantee.delta,
          .in_force = status.in_force,
          .why = status.why,
          .against = std::string(to_string(guarantee.against)),
          .disagreement = policy::disagreement_bound(guarantee)};
}

CertificateCheck::CertificateCheck(const model::ModelFile& model, const RunningCode& code,
                                   Evidence evidence)
    : model_(model), evidence_(std::move(evidence)) {
  if (!model.policy || !model.policy->guarantee) return;
  guarantee_ = model.policy->guarantee;
  const policy::Guarantee& given = *model.policy->guarantee;
  const auto verified = std::ranges::find_if(model.policy->verified, [&](const auto& one) {
    return one.precision == to_string(code.precision) && one.kernels == code.kernels;
  });
  if (given.precision == to_string(code.precision) && given.kernels == code.kernels) {
    known_.in_force = InForce::yes;  // in force with the certificate's own, smaller bound
  } else if (verified != model.policy->verified.end()) {
    guarantee_->epsilon += verified->rho;
    guarantee_->delta += verified->alpha;
    if (guarantee_->disagreement) guarantee_->disagreement->upper_bound += verified->rho;
    known_.in_force = InForce::yes;
  } else if (given.precision != to_string(code.precision)) {
    known_.why = other_precision(given, code);
  } else if (!code.arithmetic.empty() && given.kernels == code.arithmetic) {
    compares_images_ = !model.stored_images.logits.empty();
    if (compares_images_)
      known_.in_force = InForce::yes;
    else
      known_.why =
          "the file stores no images, so it cannot be checked whether this CPU computes the "
          "certified logits";
  } else {
    known_.why = fmt::format(
        "its logits were computed with {}, here they are computed with {} and may differ; "
        "\"offramp verify\" bounds how often that matters",
        given.kernels, code.kernels);
  }
  if (known_.in_force == InForce::yes && (compares_images_ || !given.hash.empty()))
    known_ = {InForce::unknown, kNotChecked};
}

bool CertificateCheck::is_unchanged() const {
  return !guarantee_ || guarantee_->hash.empty() || evidence_.hash() == guarantee_->hash;
}

CertificateStatus CertificateCheck::so_far() const {
  return is_checked_.load(std::memory_order_acquire) ? after_check_ : known_;
}

CertificateStatus CertificateCheck::status() const {
  if (known_.in_force != InForce::unknown) return known_;
  std::call_once(once_, [&] {
    after_check_ = checked();
    is_checked_.store(true, std::memory_order_release);
  });
  return after_check_;
}

CertificateStatus CertificateCheck::checked() const {
  if (!is_unchanged()) return {InForce::no, kChanged};
  if (compares_images_) return compare_stored_images();
  return {InForce::yes, ""};
}

CertificateStatus CertificateCheck::compare_stored_images() const {
  const model::StoredImages& stored = model_.stored_images;
  const std::vector<float> here = evidence_.logits_of(normalised(stored, model_.preprocessing));
  if (here.size() != stored.logits.size())
    return {InForce::no, "the network gives another number of logits than the file stores"};
  const std::size_t row = here.size() / static_cast<std::size_t>(stored.count);
  std::int64_t differing = 0;
  for (std::size_t first = 0; first < here.size(); first += row) {
    bool equal = true;
    for (std::size_t i = first; i < first + row; ++i)
      equal &=
          std::bit_cast<std::uint32_t>(here[i]) == std::bit_cast<std::uint32_t>(stored.logits[i]);
    differing += !equal;
  }
  if (differing == 0) return {InForce::yes, ""};
  return {InForce::no,
          fmt::format("{} of the {} images that the file stores give other logits here than where "
                      "the policy was certified",
                      differing, stored.count)};
}

CertificateStatus with_drift(CertificateStatus status,
                             const std::optional<policy::DriftVerdict>& drift, double images) {
  if (status.in_force == InForce::no) return status;
  if (drift && drift->drift == policy::Drift::drifted)
    return {InForce::no,
            fmt::format("the images have changed: {:.0f} % of them stop at other exits than the "
                        "images on which the policy was chosen (p = {:.1g})",
                        100 * drift->distance, drift->p_value)};
  if (status.in_force == InForce::unknown) return status;
  if (!drift)
    return {InForce::unknown,
            "the file does not hold at which exits the images stopped on which the policy was "
            "chosen, so it cannot be seen whether these images are like them"};
  if (drift->drift == policy::Drift::unknown)
    return {InForce::unknown,
            fmt::format("{:.0f} images are too few to see whether they are like the images on "
                        "which the policy was chosen: that takes {:.0f}",
                        images, policy::DriftRule{}.least_images)};
  return status;
}

}  // namespace offramp::engine
