#include "runtime/compiled_network.h"

#include <algorithm>

#include "runtime/memory_plan.h"
#include "runtime/operation.h"

namespace offramp::runtime {

std::size_t arena_bytes(const CompiledNetwork& network) {
  std::size_t arena = 0;
  for (const CompiledStage& stage : network.stages)
    for (const CompiledSegment& segment : stage.sizes) arena = std::max(arena, segment.arena_bytes);
  return aligned(arena);
}

std::size_t input_bytes(const CompiledNetwork& network, const Layout& input) {
  return aligned(input.bytes() * static_cast<std::size_t>(network.batches.back()));
}

std::size_t workspace_bytes(const CompiledNetwork& network) {
  std::size_t bytes = arena_bytes(network);
  for (const CompiledStage& stage : network.stages)
    for (const Layout& input : stage.inputs) bytes += kInputBuffers * input_bytes(network, input);
  return bytes;
}

std::vector<Layout> layouts_of(const CompiledSegment& segment, const std::vector<int>& values) {
  std::vector<Layout> layouts;
  for (const int value : values)
    layouts.push_back(segment.values[static_cast<std::size_t>(value)].layout);
  return layouts;
}

std::vector<CompiledRow> compiled_rows(const CompiledNetwork& network) {
  std::vector<CompiledRow> rows;
  for (std::size_t i = 0; i < network.stages.size(); ++i) {
    const CompiledSegment& segment = network.stages[i].sizes.back();
    const auto append = [&](const std::vector<Step>& steps, const std::string& name) {
      for (const Step& step : steps)
        rows.push_back({name, step.output, step.kind, step.operation->implementation(),
                        layouts_of(segment, step.srcs), layouts_of(segment, {step.dst})[0]});
    };
    append(segment.body, std::to_string(i + 1));
    append(segment.head, std::to_string(i + 1) + " head");
  }
  return rows;
}

}  // namespace offramp::runtime
