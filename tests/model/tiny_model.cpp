#include "tests/model/tiny_model.h"

#include "core/random.h"

namespace offramp::model {

graph::Graph tiny_graph() {
  graph::Segment first;
  first.name = "first";
  first.nodes = {{"conv1",
                  graph::Conv{.out_channels = 2, .kernel = 3, .padding = 1},
                  {std::string(graph::kInput)}},
                 {"bn1", graph::BatchNorm{}, {"conv1"}},
                 {"relu1", graph::Relu{}, {"bn1"}}};
  first.outputs = {"relu1"};
  first.feature = "relu1";
  first.head = {{"exits.1.pool", graph::SpatialPyramidPool{{1, 2}}, {"relu1"}},
                {"exits.1.fc", graph::Linear{.out_features = 3}, {"exits.1.pool"}}};
  graph::Segment last;
  last.name = "last";
  last.nodes = {
      {"conv2",
       graph::Conv{.out_channels = 4, .kernel = 2, .stride = 2, .groups = 2, .bias = true},
       {"relu1"}}};
  last.feature = "conv2";
  last.head = {{"avgpool", graph::GlobalAvgPool{}, {"conv2"}},
               {"fc", graph::Linear{.out_features = 3}, {"avgpool"}}};
  return {"tiny", {1, 4, 5}, 3, {first, last}};
}

ModelFile tiny_model() {
  ModelFile model;
  model.graph = tiny_graph();
  std::uint64_t index = 0;
  for (const graph::Parameter& parameter : graph::parameters(model.graph)) {
    core::KeyedRandom random(42, index++);
    std::vector<float> values(static_cast<std::size_t>(core::element_count(parameter.shape)));
    const bool variance = parameter.role == graph::ParameterRole::running_var;
    for (float& value : values) value = variance ? 1 + random.uniform() : random.uniform() - 0.5f;
    model.weights.emplace(parameter.name, core::HostTensor::of(parameter.shape, values));
  }
  model.classes = {"circle", "square", "Dreieck △"};
  model.preprocessing = {4, 5, core::Fit::crop, {0.5f, 0.4914f, 0.1f}, {0.25f, 0.2f, 1.0f}};
  model.loss_weights = {0.3, 1};
  model.provenance.data = {"drawn shapes, seed 1", {1, 5, ~0ull}, {7}, {}};
  model.provenance.details_json = R"({"seed":42,"recipe":"[train]\nepochs = 3\n"})";
  return model;
}

ModelFile tiny_certified_model() {
  ModelFile model = tiny_model();
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(2);
  chosen.policy.thresholds = {0.9f};
  chosen.aim = policy::HarmGuarantee{0.01, 0.05};
  chosen.guarantee =
      policy::Guarantee{"harm", 0.01, 0.05, 0.045, 4000, 29, 0.0097, "f32", "a kernel"};
  chosen.seen = policy::TuneExitShares{2000, {0.75, 0.25}};
  chosen.path = policy::CertifiedPath{
      {{{std::nullopt}, 0, 0.9, 1}, {{0.9f}, 29, 0.9, 0.75}, {{0.8f}, 45, 0.875, 0.5}}, 1};
  model.policy = chosen;
  model.certificates = 1;
  return model;
}

}  // namespace offramp::model
