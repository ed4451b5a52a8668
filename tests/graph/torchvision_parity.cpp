// The C++ program that torchvision_parity.py calls:
//   network NAME FOLDER  reads theirs.safetensors (a torchvision state dict) and
//                        images.safetensors, and writes ours.safetensors (random weights) and
//                        logits.safetensors (logits of both)
//   pyramid FOLDER       pools every tensor "<name>.<level>" of inputs.safetensors
#include <fmt/core.h>

#include <string>

#include "core/error.h"
#include "core/safetensors.h"
#include "graph/graph_builder.h"
#include "graph/network_spec.h"
#include "graph/random_weights.h"
#include "model/model_file.h"
#include "tests/support/reference.h"

namespace {

using namespace offramp;
using namespace offramp::graph;
namespace fs = std::filesystem;

core::HostTensor logits_of(const Graph& graph, const core::Tensors& weights,
                           const core::HostTensor& images) {
  const std::vector<float> logits =
      ReferencePredictor(graph, weights).predict_all(images.as<float>());
  return core::HostTensor::of({images.shape[0], graph.classes}, logits);
}

void run_network(const std::string& name, const fs::path& folder) {
  const core::HostTensor images =
      core::Safetensors::open(folder / "images.safetensors").at("images").copy();
  NetworkSpec spec;
  spec.backbone = name;
  spec.options = {.input = {images.shape[1], images.shape[2], images.shape[3]},
                  .classes = 1000,
                  .stem = Stem::imagenet,
                  .width = 64};
  const Graph graph = build_network(spec);
  const core::Tensors theirs = model::load_weights(folder / "theirs.safetensors", graph);
  const core::Tensors ours = random_weights(graph, 1);
  core::write_safetensors(folder / "ours.safetensors", {}, ours);
  core::write_safetensors(
      folder / "logits.safetensors", {},
      {{"theirs", logits_of(graph, theirs, images)}, {"ours", logits_of(graph, ours, images)}});
}

void run_pyramid(const fs::path& folder) {
  const core::Safetensors inputs = core::Safetensors::open(folder / "inputs.safetensors");
  core::Tensors pooled;
  for (const auto& [name, view] : inputs.tensors()) {
    const core::HostTensor input = view.copy();
    Graph graph{"pool", input.shape, 2, {}};
    Segment body{.name = "body", .nodes = {}, .outputs = {}, .feature = "input", .head = {}};
    const int level = std::stoi(name.substr(name.find('.') + 1));
    append(body.head, "pool", SpatialPyramidPool{{level}}, {"input"});
    append(body.head, "fc", Linear{.out_features = 2}, {"pool"});
    graph.segments = {body};
    const auto values =
        ReferencePredictor(graph, random_weights(graph, 1)).tensors(input.as<float>()).at("pool");
    const std::vector<float> rounded(values.begin(), values.end());
    pooled.emplace(name,
                   core::HostTensor::of({static_cast<std::int64_t>(rounded.size())}, rounded));
  }
  core::write_safetensors(folder / "pooled.safetensors", {}, pooled);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 4 && std::string(argv[1]) == "network") {
      run_network(argv[2], argv[3]);
    } else if (argc == 3 && std::string(argv[1]) == "pyramid") {
      run_pyramid(argv[2]);
    } else {
      throw UsageError("usage: torchvision_parity network NAME FOLDER | pyramid FOLDER");
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
