#include "workflow/certificate_count.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "workflow/provenance.h"

namespace offramp::workflow {

namespace fs = std::filesystem;

core::FileLock lock_to_change(const fs::path& model) {
  std::error_code ignored;
  const fs::path target = fs::weakly_canonical(model, ignored);
  return core::FileLock::lock_folder((target.empty() ? model : target).parent_path());
}

bool share_certify_images(const model::ModelFile& a, const model::ModelFile& b) {
  const std::vector<std::uint64_t>& of_b = b.provenance.data.certify;
  return std::ranges::any_of(a.provenance.data.certify, [&](std::uint64_t hash) {
    return std::ranges::binary_search(of_b, hash);
  });
}

std::optional<int> count_certify_use(
    const fs::path& model, int at_least,
    const std::function<bool(const model::ModelFile& now, int use)>& may_count) {
  const core::FileLock lock = lock_to_change(model);
  core::Tensors extra;
  model::ModelFile now = model::load_model(model, &extra);
  now.certificates = std::max(now.certificates, at_least) + 1;
  if (!may_count(now, now.certificates)) return std::nullopt;
  try {
    model::save_model(model, now, extra);
  } catch (const Error& error) {
    throw Error(fmt::format(
        "{}; every use of the certify images is counted in that file first, so none was evaluated",
        error.what()));
  }
  return now.certificates;
}

void count_shown_certify_images(const fs::path& path, const model::ModelFile& model,
                                const ImagesToShow& shown, const Progress& progress) {
  const std::vector<std::uint64_t>& certify = model.provenance.data.certify;
  const std::int64_t images = std::ranges::count_if(*shown.indices, [&](std::int64_t i) {
    return std::ranges::binary_search(certify, shown.data->hashes[static_cast<std::size_t>(i)]);
  });
  if (images == 0) return;
  log_test_read(path, {shown.command, shown.source, images, "certify"});
  const std::optional<int> use = count_certify_use(
      path, model.certificates, [](const model::ModelFile&, int) { return true; });
  progress.remark(fmt::format(
      "{} certify images of {} are evaluated: this counts as attempt {} to certify, and later "
      "attempts are tested more strictly",
      images, path.string(), use.value()));
}

}  // namespace offramp::workflow
