#pragma once

#include <memory>

#include "serve/http.h"
#include "serve/json_text.h"
#include "serve/served_models.h"
#include "serve/worker.h"

// The Open Inference Protocol, version 2, with its binary tensor and classification extensions.
namespace offramp::serve {

/// Answers GET /v2/models/NAME: names, types and shapes of the tensors.
Json model_metadata(const ServedModel& model);
/// Answers GET /v2/models/NAME/config in the format that Triton's clients read.
Json model_config(const ServedModel& model);
/// Answers GET /v2/models/NAME/stats: one entry of "model_stats".
Json model_statistics(const ServedModel& model);

/// Handles POST /v2/models/NAME/infer.
/// @param worker  as in run_images()
/// @throws HttpError if the request is refused before any image runs
void infer(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
           Worker& worker, Reply reply);
/// Whether infer() takes so long to read the request that another thread should call it. @throws
/// HttpError 400 if the request does not state the length of its JSON
bool is_long_to_read(const Request& request);

}  // namespace offramp::serve
