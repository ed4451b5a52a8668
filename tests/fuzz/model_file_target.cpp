#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "graph/cost.h"
#include "model/model_file.h"
#include "model/policy_json.h"
#include "policy/policy.h"
#include "runtime/compile.h"
#include "runtime/single_image_run.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/safetensors_mutator.h"

// Any bytes are either read as a model file or refused with an Error. Graph and policy of a model
// that was read must be unchanged after writing and reading them. A mapped file must have the same
// weights as a loaded one. Small networks are also compiled and classify an image.

namespace offramp {
namespace {

void check_round_trips(const model::ModelFile& model) {
  graph::cost_of(model.graph);
  graph::infer_shapes(model.graph);
  if (model::graph_from_json(model::graph_to_json(model.graph)) != model.graph) std::abort();
  if (!model.policy) return;
  if (model::policy_from_json(model::policy_to_json(*model.policy),
                              model.policy->policy.num_exits()) != *model.policy)
    std::abort();
  // The policy is evaluated once on constant logits.
  policy::ExitState exit_state;
  const std::vector<float> logits(model.classes.size(), 0.5f);
  for (int k = 0; k < model.policy->policy.num_exits(); ++k)
    policy::should_exit(model.policy->policy, k, logits, exit_state);
}

/// Limits on the networks that are compiled and run here, so that an input takes milliseconds.
constexpr std::size_t kMaxNodes = 40;
constexpr std::size_t kMaxBytes = std::size_t{16} << 20;
constexpr std::int64_t kMaxElements = 20'000, kMaxMacs = 1'000'000;

bool is_small(const graph::Graph& graph) {
  std::size_t nodes = 0;
  for (const graph::Segment& segment : graph.segments)
    nodes += segment.nodes.size() + segment.head.size();
  return nodes <= kMaxNodes;
}

bool is_quick(const graph::Graph& graph) {
  std::int64_t elements = 0;
  for (const auto& [name, shape] : graph::infer_shapes(graph))
    elements += core::element_count(shape);
  return elements <= kMaxElements && graph::cost_of(graph).exit_macs.back() <= kMaxMacs;
}

void run(const model::MappedModel& mapped, runtime::Precision precision) {
  const graph::Graph& graph = mapped.model.graph;
  if (!runtime::has_instructions_for(precision)) return;
  runtime::CompileOptions options{.precision = precision, .batches = {2}, .max_bytes = kMaxBytes};
  if (mapped.model.deployment) options.ranges = mapped.model.deployment->ranges;
  runtime::WeightStore store;
  const auto network = runtime::compile(
      graph, [&](const std::string& name) { return mapped.weights_of(name); }, options, store);
  if (!is_quick(graph)) return;
  runtime::SingleImageRun image_run(network);
  image_run.begin(
      std::vector<float>(static_cast<std::size_t>(core::element_count(graph.input)), 0.5f));
  for (int k = 0; k < network->num_exits; ++k)
    if (image_run.advance().size() != mapped.model.classes.size()) std::abort();
}

}  // namespace
}  // namespace offramp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace offramp;
  const MemoryFile file(data, size);
  try {
    model::map_model(file.path());
  } catch (const Error& error) {
    try {
      model::load_model(file.path());
      std::abort();  // a file that can be loaded must also be mapped without an error
    } catch (const Error& same) {
      if (std::strcmp(error.what(), same.what()) != 0 || std::strchr(error.what(), '\n') != nullptr)
        std::abort();
      return 0;
    }
  }
  try {
    core::Tensors extra;
    const model::ModelFile model = model::load_model(file.path(), &extra);
    check_round_trips(model);
    const model::MappedModel mapped = model::map_model(file.path());
    for (const auto& [name, tensor] : model.weights)
      if (mapped.weights_of(name) != tensor.to_f32()) std::abort();
    if (!is_small(model.graph)) return 0;
    const bool in_int8 = model.deployment && model.deployment->precision == "int8";
    run(mapped, runtime::Precision::f32);
    if (in_int8) run(mapped, runtime::Precision::int8);
  } catch (const Error& error) {
    if (std::strchr(error.what(), '\n') != nullptr || *error.what() == '\0') std::abort();
  }
  return 0;
}
