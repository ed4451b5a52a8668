#include "workflow/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "policy/binomial.h"
#include "policy/calibration.h"
#include "runtime/kernels_name.h"
#include "workflow/certificate_count.h"
#include "workflow/evaluate.h"
#include "workflow/policy_choice.h"
#include "workflow/provenance.h"

namespace offramp::workflow {
namespace {

std::string text_of(const eval::SavedLogits& saved, const std::string& key) {
  const auto found = saved.metadata.find(key);
  return found == saved.metadata.end() ? "unknown" : found->second;
}

/// Returns the logits of the images with these hashes, in the order of the hashes. Equal images
/// have equal logits, so any of several copies will do.
/// @throws Error if an image is not among those whose logits were saved
eval::SavedLogits rows_of(const std::vector<std::uint64_t>& hashes, const eval::SavedLogits& saved,
                          const VerifyOptions& options) {
  if (saved.hashes.empty())
    throw Error(
        fmt::format("{}: does not say of which images the logits are; save them again with this "
                    "version",
                    options.logits.string()));
  std::unordered_map<std::uint64_t, std::size_t> row_of;
  for (std::size_t row = 0; row < saved.hashes.size(); ++row) row_of[saved.hashes[row]] = row;
  const auto missing =
      std::ranges::count_if(hashes, [&](std::uint64_t hash) { return !row_of.contains(hash); });
  if (missing > 0)
    throw Error(fmt::format(
        "{}: has no logits of {} of the {} images of {}; save them with the same data and options",
        options.logits.string(), missing, hashes.size(), options.data));
  eval::SavedLogits rows;
  rows.exits = saved.exits;
  rows.classes = saved.classes;
  rows.hashes = hashes;
  for (const std::uint64_t hash : hashes) rows.labels.push_back(saved.labels[row_of.at(hash)]);
  const policy::LogitsView view = saved.view();
  for (int k = 0; k < saved.exits; ++k)
    for (const std::uint64_t hash : hashes) {
      const auto row = view.at(k, static_cast<std::int64_t>(row_of.at(hash)));
      rows.logits.insert(rows.logits.end(), row.begin(), row.end());
    }
  return rows;
}

/// Reads the logits of the certified code for the same images as those computed here.
eval::SavedLogits certified_logits(const VerifyOptions& options, const policy::Guarantee& given,
                                   const eval::SavedLogits& here) {
  eval::SavedLogits saved = eval::load_logits(options.logits);
  const std::string precision = text_of(saved, "precision"), kernels = text_of(saved, "kernels");
  // A certificate that names an arithmetic holds for all kernels that compute it.
  const bool any_kernels = given.kernels == runtime::arithmetic_name(runtime::Precision::int8);
  if (precision != given.precision || (kernels != given.kernels && !any_kernels))
    throw Error(fmt::format("{}: logits of {} with {}, but the certificate is for {} with {}",
                            options.logits.string(), precision, kernels, given.precision,
                            given.kernels));
  if (const std::string hash = text_of(saved, "certified_hash");
      !given.hash.empty() && hash != given.hash)
    throw Error(fmt::format("{}: the logits are not of the certified model (hash {} instead of {})",
                            options.logits.string(), hash, given.hash));
  if (saved.exits != here.exits || saved.classes != here.classes)
    throw Error(fmt::format("{}: logits of {} exits and {} classes, but the model has {} and {}",
                            options.logits.string(), saved.exits, saved.classes, here.exits,
                            here.classes));
  return rows_of(here.hashes, saved, options);
}

/// Stores what was found in the model's file, instead of an earlier result for the same code.
void store(const VerifyOptions& options, const model::ModelFile& opened,
           const policy::Verified& found) {
  const core::FileLock lock = lock_to_change(options.model);
  core::Tensors extra;
  model::ModelFile now = model::load_model(options.model, &extra);
  if (now.policy != opened.policy || now.graph != opened.graph)
    throw Error(fmt::format("{}: the file was changed during the run; run it again",
                            options.model.string()));
  std::erase_if(now.policy->verified, [&](const policy::Verified& one) {
    return one.precision == found.precision && one.kernels == found.kernels;
  });
  now.policy->verified.push_back(found);
  model::save_model(options.model, now, extra);
}

policy::Verified compare(const VerifyOptions& options, const engine::OpenedModel& model,
                         const eval::SavedLogits& here) {
  const policy::ChosenPolicy& chosen = *model.file().policy;
  const eval::SavedLogits certified = certified_logits(options, *chosen.guarantee, here);
  policy::Verified found;
  found.precision = to_string(model.precision());
  found.kernels = model.kernels();
  found.images = here.view().images();
  found.differing = differing_outcomes(chosen.policy, certified.view(), here.view());
  found.alpha = options.alpha;
  found.rho = policy::clopper_pearson_upper(found.differing, found.images, found.alpha);
  if (!(chosen.guarantee->epsilon + found.rho < 1) || !(chosen.guarantee->delta + found.alpha < 1))
    throw Error(
        fmt::format("{}: {} of {} outcomes differ from those of the certified code, so no "
                    "bound below 1 can be given",
                    options.model.string(), found.differing, found.images));
  return found;
}

}  // namespace

std::int64_t differing_outcomes(const policy::Policy& policy, const policy::LogitsView& certified,
                                const policy::LogitsView& here) {
  const StoppedAnswers before = replay(certified, policy), now = replay(here, policy);
  // The answer of the last exit, and that of an ensemble of all exits if the policy has one: harm
  // may be counted against either.
  using policy::HarmReference;
  const auto last_before = last_exit_answers(certified), last = last_exit_answers(here);
  const auto all_before = policy::reference_answers(policy, certified, HarmReference::ensemble);
  const auto all = policy::reference_answers(policy, here, HarmReference::ensemble);
  std::int64_t differing = 0;
  for (std::size_t i = 0; i < last.size(); ++i)
    differing +=
        before.answers[i] != now.answers[i] || last_before[i] != last[i] || all_before[i] != all[i];
  return differing;
}

Verification verify(const VerifyOptions& options, const Progress& progress) {
  if (!(options.alpha > 0 && options.alpha < 1))
    throw UsageError(
        fmt::format("alpha: expected a probability between 0 and 1, got {}", options.alpha));
  const auto model = open_model(options.model, options.run, progress);
  const std::optional<policy::ChosenPolicy>& chosen = model->file().policy;
  if (!chosen || !chosen->guarantee)
    throw Error(fmt::format("{}: has no certificate; \"offramp calibrate --guarantee\" makes one",
                            options.model.string()));
  if (!options.logits.empty() && !model->certificate().is_unchanged())
    throw Error(fmt::format(
        "{}: the weights, the policy or other parts of the model are not those that were "
        "certified, "
        "so the certificate cannot be verified; take the original file, or certify this one",
        options.model.string()));
  const data::LoadedData loaded =
      data::load_data(options.data, data::Part::test, load_options(model->file()));
  std::vector<std::int64_t> indices =
      images_to_test(options.model, model->file(), loaded, options.skip_trained);
  Verification result;
  // A bound for independent images cannot count copies.
  result.copies = leave_out_copies(loaded.dataset, indices);
  result.precision = to_string(model->precision());
  result.kernels = model->kernels();
  result.images = static_cast<std::int64_t>(indices.size());
  result.given = *chosen->guarantee;
  log_test_read(options.model, {options.command, loaded.source, result.images}, progress);
  count_shown_certify_images(options.model, model->file(),
                             {&loaded.dataset, &indices, loaded.source, options.command}, progress);
  const eval::SavedLogits here = run_all_exits(
      *model,
      {&loaded.dataset, indices, &model->file().preprocessing, options.run.images_at_once()},
      progress);
  const StoppedAnswers stopped = replay(here.view(), chosen->policy);
  std::vector<double> shares(static_cast<std::size_t>(model->num_exits()));
  for (const int exit_index : stopped.exit_index)
    shares[static_cast<std::size_t>(exit_index)] += 1 / static_cast<double>(result.images);
  result.drift = drift_of(*chosen, shares, result.images);
  result.guarantee = model->certificate().guarantee();
  engine::CertificateStatus status = model->certificate().status();
  // Epsilon is for images like the certify images: for others no sum with it is a bound.
  const bool drifted = result.drift && result.drift->drift == policy::Drift::drifted;
  if (!options.logits.empty() && !drifted) {
    result.verified = compare(options, *model, here);
    store(options, model->file(), *result.verified);
    // Where the certificate itself is in force, its own bound is the smaller one.
    if (status.in_force != InForce::yes) {
      result.guarantee = result.given;
      result.guarantee->epsilon += result.verified->rho;
      result.guarantee->delta += result.verified->alpha;
      if (auto& disagreement = result.guarantee->disagreement)
        disagreement->upper_bound += result.verified->rho;
      status = {InForce::yes, ""};
    }
  }
  result.certificate =
      engine::with_drift(std::move(status), result.drift, static_cast<double>(result.images));
  return result;
}

}  // namespace offramp::workflow
