#pragma once

#include <memory>

#include "serve/http.h"
#include "serve/json_text.h"
#include "serve/served_models.h"

// The Open Inference Protocol, version 2, with its binary tensor and classification extensions.
namespace offramp::serve {

/// GET /v2/models/NAME: names, types and shapes of the tensors.
Json model_metadata(const ServedModel& model);
/// GET /v2/models/NAME/config, as Triton's clients read it.
Json model_config(const ServedModel& model);
/// GET /v2/models/NAME/stats: an entry of "model_stats".
Json model_statistics(const ServedModel& model);

/// POST /v2/models/NAME/infer. @throws HttpError for what is refused before any image runs
void infer(const std::shared_ptr<ServedModel>& model, const std::shared_ptr<Request>& request,
           Reply reply);

}  // namespace offramp::serve
