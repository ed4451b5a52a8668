#include "workflow/open_model.h"

#include <algorithm>
#include <utility>

#include "workflow/evaluate.h"

namespace offramp::workflow {
namespace {

/// The largest batch size of a segment. Larger batches are not faster and do not fit into the CPU's
/// caches.
constexpr int kMaxBatch = 32;

template <typename Source>
std::shared_ptr<engine::OpenedModel> open(Source&& source, const RunOptions& options,
                                          const Progress& progress) {
  engine::OpenOptions how;
  how.precision = options.precision;
  how.threads = options.threads;
  if (options.batch > 0) how.batch = std::min(options.batch, kMaxBatch);
  auto model = engine::OpenedModel::open(std::forward<Source>(source), how);
  for (const std::string& note : model->notes()) progress.remark(note);
  return model;
}

}  // namespace

int RunOptions::images_at_once() const { return batch > 0 ? batch : kEvaluationBatch; }

std::shared_ptr<engine::OpenedModel> open_model(const std::filesystem::path& path,
                                                const RunOptions& options,
                                                const Progress& progress) {
  return open(path, options, progress);
}

std::shared_ptr<engine::OpenedModel> open_model(model::ModelFile model, const RunOptions& options,
                                                const Progress& progress) {
  return open(std::move(model), options, progress);
}

}  // namespace offramp::workflow
