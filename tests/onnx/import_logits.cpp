// The C++ program that torchvision_models.py calls: import_logits NET.onnx FOLDER reads
// images.safetensors [N, C, H, W] of the folder, and writes logits.safetensors [N, classes] with
// the logits of the imported network by the plain-loop reference, and the numbers of nodes on
// standard output.
#include <fmt/core.h>

#include <string>

#include "core/error.h"
#include "core/safetensors.h"
#include "onnx/read_network.h"
#include "tests/support/reference.h"

int main(int argc, char** argv) {
  using namespace offramp;
  try {
    if (argc != 3) throw UsageError("usage: import_logits NET.onnx FOLDER");
    const std::filesystem::path folder = argv[2];
    const core::HostTensor images =
        core::Safetensors::open(folder / "images.safetensors").at("images").copy();
    const onnx::ImportedNetwork network =
        onnx::read_network(argv[1], onnx::ImageSize{.height = static_cast<int>(images.shape[2]),
                                                    .width = static_cast<int>(images.shape[3])});
    const std::vector<float> logits =
        ReferencePredictor(network.graph, network.weights).predict_all(images.as<float>());
    core::write_safetensors(
        folder / "logits.safetensors", {},
        {{"logits", core::HostTensor::of({images.shape[0], network.graph.classes}, logits)}});
    const graph::Segment& segment = network.graph.segments.front();
    fmt::print("{} {}\n", network.nodes, segment.nodes.size() + segment.head.size());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
