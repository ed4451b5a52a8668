#include "tests/support/models.h"

#include <span>
#include <sstream>
#include <utility>

#include "core/file.h"
#include "graph/random_weights.h"
#include "image/image.h"
#include "runtime/kernels_name.h"
#include "tests/support/graphs.h"

namespace offramp::test {

model::ModelFile small_model(std::vector<std::string> classes) {
  model::ModelFile model;
  model.graph = small_resnet();
  model.weights = graph::random_weights(model.graph, 1);
  model.classes = std::move(classes);
  if (model.classes.empty()) {
    for (std::int64_t i = 0; i < model.graph.classes; ++i)
      model.classes.push_back("class " + std::to_string(i));
  }
  model.loss_weights = {0.2, 0.3, 0.5};
  return model;
}

policy::ChosenPolicy certified_policy(const std::string& precision) {
  policy::ChosenPolicy chosen;
  chosen.policy = policy::never_stop(3);
  chosen.aim = policy::MaxCost{0.5};
  chosen.guarantee = policy::Guarantee{
      "harm", 0.05, 0.1, 0.09, 1000, 20, 0.03, precision, runtime::kernels_name()};
  return chosen;
}

std::string write_png(const std::filesystem::path& path, const data::Dataset& images,
                      std::int64_t index) {
  const auto pixels = images.image(index);
  const auto bytes =
      image::encode_png({images.width, images.height, {pixels.begin(), pixels.end()}});
  const std::span<const std::byte> part = bytes;
  core::write_file_atomic(path, std::span(&part, 1));
  return path;
}

std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::vector<nlohmann::json> values;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) values.push_back(nlohmann::json::parse(line));
  return values;
}

}  // namespace offramp::test
