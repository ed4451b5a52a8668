#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/opened_model.h"
#include "model/model_file.h"
#include "workflow/progress.h"

namespace offramp::workflow {

/// How the images of a call run through a model.
struct RunOptions {
  std::string precision = "auto";  ///< see engine::OpenOptions
  int threads = 0;                 ///< 0: usable_cores()
  int batch = 0;  ///< images that are handed to the model together; 0: kEvaluationBatch

  int images_at_once() const;
};

/// Opens a model; what it remarks is passed on. @throws as engine::OpenedModel::open
std::shared_ptr<engine::OpenedModel> open_model(const std::filesystem::path& path,
                                                const RunOptions& options,
                                                const Progress& progress);
std::shared_ptr<engine::OpenedModel> open_model(ModelFile model, const RunOptions& options,
                                                const Progress& progress);

}  // namespace offramp::workflow
