#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "graph/graph.h"
#include "model/model_file.h"
#include "onnx/read_network.h"
#include "tests/fuzz/memory_file.h"

// Any bytes are either read as an ONNX network or refused with an Error of one line. A network that
// was read has a weight of the right shape for every parameter, and its graph is unchanged after
// writing and reading it.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace offramp;
  const MemoryFile file(data, size);
  try {
    const onnx::ImportedNetwork network =
        onnx::read_network(file.path(), onnx::ImageSize{.height = 8, .width = 8});
    std::size_t found = 0;
    for (const graph::Parameter& parameter : graph::parameters(network.graph)) {
      const auto weight = network.weights.find(parameter.name);
      if (weight == network.weights.end() || weight->second.shape != parameter.shape) std::abort();
      ++found;
    }
    if (found != network.weights.size()) std::abort();
    if (model::graph_from_json(model::graph_to_json(network.graph)) != network.graph) std::abort();
  } catch (const Error& error) {
    if (std::strchr(error.what(), '\n') != nullptr || *error.what() == '\0') std::abort();
  }
  return 0;
}
