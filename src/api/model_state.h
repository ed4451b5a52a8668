#pragma once

#include <memory>

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

}  // namespace offramp
