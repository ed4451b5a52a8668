#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/opened_model.h"
#include "model/model_file.h"
#include "workflow/progress.h"

namespace offramp::workflow {

/// How a call runs images through a model.
struct RunOptions {
  std::string precision = "auto";  ///< see engine::OpenOptions
  int threads = 0;                 ///< 0: usable_cores()
  int batch = 0;                   ///< images per call of the model; 0: kEvaluationBatch

  /// `batch`, or kEvaluationBatch if it is 0.

  int images_at_once() const;
};

/// Opens a model, and passes its notes to Progress::remark. @throws as engine::OpenedModel::open
std::shared_ptr<engine::OpenedModel> open_model(const std::filesystem::path& path,
                                                const RunOptions& options,
                                                const Progress& progress);
std::shared_ptr<engine::OpenedModel> open_model(model::ModelFile model, const RunOptions& options,
                                                const Progress& progress);

}  // namespace offramp::workflow
