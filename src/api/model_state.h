#pragma once

#include <memory>
#include <optional>

#include "engine/opened_model.h"
#include "offramp/model.h"

namespace offramp {

/// The state that all copies of a Model share.
class [[gnu::visibility("hidden")]] Model::State {
 public:
  explicit State(std::shared_ptr<engine::OpenedModel> opened) : opened_(std::move(opened)) {}
  const std::shared_ptr<engine::OpenedModel>& opened() const { return opened_; }

 private:
  std::shared_ptr<engine::OpenedModel> opened_;
};

namespace api {

/// The guarantee of a model with a status; nullopt if the model has none.
std::optional<Guarantee> guarantee_of(const engine::OpenedModel& model,
                                      const engine::CertificateStatus& status);
/// The path that was tested for the certificate; nullptr if the file holds none.
const policy::CertifiedPath* path_of(const engine::OpenedModel& model);

}  // namespace api

}  // namespace offramp
