#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "engine/opened_model.h"
#include "engine/runner.h"
#include "graph/graph.h"
#include "graph/random_weights.h"

namespace offramp {

/// Options to run a network that is not in a file.
struct NetworkOptions {
  runtime::Precision precision = runtime::Precision::f32;
  int threads = 0;  ///< 0: all cores
  int batch = 8;
  model::ActivationRanges ranges = {};  ///< for int8
};

/// Opens a network as a model without policy. @throws as engine::OpenedModel::open
inline std::shared_ptr<engine::OpenedModel> open_network(const graph::Graph& graph,
                                                         const core::Tensors& weights,
                                                         const NetworkOptions& options) {
  model::ModelFile model;
  model.graph = graph;
  model.weights = weights;
  for (std::int64_t i = 0; i < graph.classes; ++i)
    model.classes.push_back("class " + std::to_string(i));
  if (options.precision == runtime::Precision::int8)
    model.deployment = model::Deployment{"int8", options.ranges, {}};
  return engine::OpenedModel::open(std::move(model),
                                   {.precision = std::string(to_string(options.precision)),
                                    .threads = options.threads,
                                    .batch = options.batch});
}

/// A Predictor that owns a Runner, so that a test can read what the Runner executed.
class RunnerPredictor final : public core::Predictor {
 public:
  explicit RunnerPredictor(std::shared_ptr<engine::OpenedModel> model)
      : model_(std::move(model)), runner_(model_) {}

  int num_exits() const override { return model_->num_exits(); }
  int num_classes() const override { return model_->num_classes(); }
  std::int64_t image_size() const override { return model_->image_size(); }
  void run(std::span<const float> images, const core::ExitVisitor& visit) override {
    const auto size = static_cast<std::size_t>(image_size());
    runner_.run(
        static_cast<std::int64_t>(images.size() / size),
        [&](std::int64_t image, std::span<float> pixels) {
          const auto own = images.subspan(static_cast<std::size_t>(image) * size, size);
          std::copy(own.begin(), own.end(), pixels.begin());
          return true;
        },
        visit);
  }
  engine::RunCounts counts() const { return runner_.counts(); }

 private:
  std::shared_ptr<engine::OpenedModel> model_;
  engine::Runner runner_;
};

}  // namespace offramp
