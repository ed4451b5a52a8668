#pragma once

#include <memory>

#include "serve/http.h"
#include "serve/json_text.h"
#include "serve/served_models.h"
#include "serve/worker.h"

// The Open Inference Protocol, version 2, with its binary tensor and classification extensions.
namespace offramp::serve {

/// GET /v2/models/NAME: names, types and shapes of the tensors.
Json model_metadata(const ServedModel& model);
/// GET /v2/models/NAME/config, as Triton's clients read it.
Json model_config(const ServedModel& model);
/// GET /v2/models/NAME/stats: an entry of "model_stats".
Json model_statistics(const ServedModel& model);

/// POST /v2/models/NAME/infer. @param worker  as in run_images()
/// @throws HttpError for what is refused before any image runs
void infer(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
           Worker& worker, Reply reply);
/// Whether infer() takes so long to read the request that it should have a thread of its own.
/// @throws HttpError 400 if the request does not say how long its JSON is
bool is_long_to_read(const Request& request);

}  // namespace offramp::serve
