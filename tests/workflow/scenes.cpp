#include "tests/workflow/scenes.h"

#include <algorithm>
#include <string>

#include "core/random.h"
#include "graph/graph_builder.h"

namespace offramp::test {
namespace {

graph::Graph three_eyes() {
  graph::Graph graph{"three_eyes", {3, kSceneSide, kSceneSide}, 2, {}};
  std::string x(graph::kInput);
  for (int k = 1; k <= 3; ++k) {
    const std::string number = std::to_string(k);
    std::vector<graph::Node> nodes;
    x = append(nodes, "conv" + number, graph::Conv{.out_channels = 3}, {x});
    graph::Segment segment = graph::make_segment("part" + number, nodes);
    if (k == 3) {
      graph::append_classifier(segment.head, x, 2);
    } else {
      append(segment.head, "exits." + number + ".pool", graph::GlobalAvgPool{}, {x});
      append(segment.head, "exits." + number + ".fc", graph::Linear{.out_features = 2},
             {"exits." + number + ".pool"});
    }
    graph.segments.push_back(segment);
  }
  return graph;
}

std::vector<std::uint64_t> sorted_part(const data::Dataset& data, std::size_t first,
                                       std::size_t count) {
  const auto begin = data.hashes.begin() + static_cast<std::ptrdiff_t>(first);
  std::vector<std::uint64_t> hashes(begin, begin + static_cast<std::ptrdiff_t>(count));
  std::ranges::sort(hashes);
  return hashes;
}

}  // namespace

Scene scene(std::uint64_t index) {
  core::KeyedRandom random(1, index);
  Scene result;
  result.label = random.flip() ? 1 : 0;
  const float sign = result.label == 1 ? 1.0f : -1.0f;
  const float hard = random.flip() ? 0.0f : random.uniform();
  constexpr std::array kReach = {2.0f, 1.6f, 1.3f};
  for (std::size_t k = 0; k < 3; ++k)
    result.means[k] = sign * 0.7f * (1 - kReach[k] * hard * random.uniform());
  return result;
}

void add(data::Dataset& data, const Scene& shown) {
  core::KeyedRandom random(2, static_cast<std::uint64_t>(data.size()));
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < kSceneSide; ++y)
    for (int x = 0; x < kSceneSide; ++x)
      for (std::size_t c = 0; c < 3; ++c) {
        const float sign = shown.label == 1 ? 1.0f : -1.0f;
        const float shade = c < 2 ? 0 : y < kSceneSide / 2 ? -0.2f * sign : 0.2f * sign;
        const float value = shown.means[c] + shade + random.uniform(-0.02f, 0.02f);
        pixels.push_back(
            static_cast<std::uint8_t>(std::clamp(127.5f * (value + 1) + 0.5f, 0.0f, 255.0f)));
      }
  data.pixels.insert(data.pixels.end(), pixels.begin(), pixels.end());
  data.labels.push_back(shown.label);
  data.names.push_back("scene " + std::to_string(data.size()));
  data.hashes.push_back(data::image_hash(kSceneSide, kSceneSide, pixels));
}

data::LoadedData empty_scenes() {
  data::LoadedData loaded;
  loaded.dataset.height = loaded.dataset.width = kSceneSide;
  loaded.dataset.classes = {"cat", "dog"};
  loaded.source = "scenes";
  loaded.sizes.add(kSceneSide, kSceneSide);
  return loaded;
}

model::ModelFile three_exit_model() {
  model::ModelFile model;
  model.graph = three_eyes();
  for (int k = 1; k <= 3; ++k) {
    const std::string number = std::to_string(k);
    model.weights["conv" + number + ".weight"] =
        core::HostTensor::of({3, 3, 1, 1}, std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1});
    const std::string head = k == 3 ? "fc" : "exits." + number + ".fc";
    std::vector<float> eye(6);
    eye[static_cast<std::size_t>(k - 1)] = -5;
    eye[static_cast<std::size_t>(k + 2)] = 5;
    model.weights[head + ".weight"] = core::HostTensor::of({2, 3}, eye);
    model.weights[head + ".bias"] = core::HostTensor::of({2}, std::vector<float>(2));
  }
  model.classes = {"cat", "dog"};
  model.preprocessing = {
      kSceneSide, kSceneSide, core::Fit::squeeze, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};
  model.loss_weights = {0.2, 0.3, 0.5};
  return model;
}

model::ModelFile perfect_model() {
  model::ModelFile model = three_exit_model();
  model.graph.segments.resize(1);
  graph::Segment& only = model.graph.segments[0];
  only.outputs.clear();
  only.head.clear();
  append(only.head, "flat", graph::Flatten{}, {"conv1"});
  append(only.head, "fc", graph::Linear{.out_features = 2}, {"flat"});
  std::vector<float> shades(2 * 48);
  for (std::size_t i = 0; i < 16; ++i) shades[48 + 32 + i] = i < 8 ? -1.0f : 1.0f;
  model.weights = {{"conv1.weight", model.weights.at("conv1.weight")},
                   {"fc.weight", core::HostTensor::of({2, 48}, shades)},
                   {"fc.bias", core::HostTensor::of({2}, std::vector<float>(2))}};
  model.loss_weights = {1};
  return model;
}

data::LoadedData training_scenes() {
  data::LoadedData images = empty_scenes();
  for (std::uint64_t i = 0; i < kSceneTrain + kSceneTune + kSceneCertify; ++i)
    add(images.dataset, scene(i));
  return images;
}

data::LoadedData deceptive_scenes() {
  data::LoadedData images = empty_scenes();
  for (std::uint64_t i = 0; i < kSceneTrain + kSceneTune + kSceneCertify; ++i) {
    Scene shown = scene(i);
    if (i >= kSceneTrain + kSceneTune)
      shown.means[0] = shown.means[1] = shown.label == 1 ? -1.0f : 1.0f;
    add(images.dataset, shown);
  }
  return images;
}

data::LoadedData test_scenes() {
  data::LoadedData images = empty_scenes();
  for (std::uint64_t i = 0; i < 100; ++i) add(images.dataset, scene(10'000 + i));
  return images;
}

model::DataProvenance parts_of(const data::Dataset& data) {
  return {"scenes", sorted_part(data, 0, kSceneTrain), sorted_part(data, kSceneTrain, kSceneTune),
          sorted_part(data, kSceneTrain + kSceneTune, kSceneCertify)};
}

}  // namespace offramp::test
