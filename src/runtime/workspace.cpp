#include "runtime/workspace.h"

#include <algorithm>

#include "runtime/huge_pages.h"
#include "runtime/kernels.h"
#include "runtime/memory_plan.h"
#include "runtime/onednn.h"

namespace offramp::runtime {
Workspace::Workspace(std::shared_ptr<const CompiledNetwork> network)
    : network_(std::move(network)), stream_(std::make_unique<dnnl::stream>(cpu_engine())) {
  bytes_ = arena_bytes(*network_);
  plan_inputs();
  memory_ = allocate_pages(bytes_);
  arena_ = memory_.get();

  translate_onednn_errors([&] {
    for (std::size_t stage = 0; stage < network_->stages.size(); ++stage) {
      std::vector<Bound>& sizes = bound_.emplace_back();
      for (const CompiledSegment& segment : network_->stages[stage].sizes)
        for (int buffer = 0; buffer < kInputBuffers; ++buffer)
          sizes.push_back({bind(segment, segment.body, stage, buffer),
                           bind(segment, segment.head, stage, buffer)});
    }
  });
}

Workspace::~Workspace() = default;
Workspace::Workspace(Workspace&&) noexcept = default;
Workspace& Workspace::operator=(Workspace&&) noexcept = default;

void Workspace::plan_inputs() {
  for (const CompiledStage& stage : network_->stages) {
    std::vector<std::size_t>& offsets = input_offsets_.emplace_back();
    for (int buffer = 0; buffer < kInputBuffers; ++buffer)
      for (const Layout& input : stage.inputs) {
        offsets.push_back(bytes_);
        bytes_ += input_bytes(*network_, input);
      }
  }
}

std::byte* Workspace::place_of(const CompiledSegment& segment, int value, std::size_t stage,
                               int buffer) const {
  const Value& wanted = segment.values[static_cast<std::size_t>(value)];
  if (wanted.input < 0) return arena_ + wanted.offset;
  const std::size_t inputs = network_->stages[stage].inputs.size();
  return memory_.get() + input_offsets_[stage][static_cast<std::size_t>(buffer) * inputs +
                                               static_cast<std::size_t>(wanted.input)];
}

Workspace::BoundSteps Workspace::bind(const CompiledSegment& segment,
                                      const std::vector<Step>& steps, std::size_t stage,
                                      int buffer) {
  BoundSteps bound;
  for (const Step& step : steps) {
    Buffers buffers;
    for (const int src : step.srcs) buffers.srcs.push_back(place_of(segment, src, stage, buffer));
    buffers.dst = place_of(segment, step.dst, stage, buffer);
    buffers.scratch = arena_ + step.scratch_offset;
    bound.push_back(step.operation->bind(buffers, *stream_));
  }
  return bound;
}

const Workspace::Bound& Workspace::bound(std::size_t stage, std::size_t size, int buffer) const {
  return bound_[stage][size * kInputBuffers + static_cast<std::size_t>(buffer)];
}

std::byte* Workspace::input_row(std::size_t stage, int buffer, std::size_t input, int row) {
  const std::vector<Layout>& inputs = network_->stages[stage].inputs;
  return memory_.get() +
         input_offsets_[stage][static_cast<std::size_t>(buffer) * inputs.size() + input] +
         inputs[input].bytes() * static_cast<std::size_t>(row);
}

void Workspace::put_image(int buffer, int row, std::span<const float> pixels) {
  const Layout& layout = network_->stages[0].inputs[0];
  const kernels::Grid grid = layout.grid();
  const float factor = 1 / layout.element.scale;
  std::byte* place = input_row(0, buffer, 0, row);
  switch (layout.element.dtype) {
    case core::DType::bf16:
      return kernels::pack(pixels.data(), grid, reinterpret_cast<std::uint16_t*>(place));
    case core::DType::u8:
      return kernels::pack(pixels.data(), grid, factor, reinterpret_cast<std::uint8_t*>(place));
    case core::DType::i8:
      return kernels::pack(pixels.data(), grid, factor, reinterpret_cast<std::int8_t*>(place));
    default:
      return kernels::pack(pixels.data(), grid, reinterpret_cast<float*>(place));
  }
}

Workspace::Operations Workspace::body(std::size_t stage, std::size_t size, int buffer) const {
  return bound(stage, size, buffer).body;
}

Workspace::Operations Workspace::head(std::size_t stage, std::size_t size, int buffer) const {
  return bound(stage, size, buffer).head;
}

const std::byte* Workspace::value(std::size_t stage, std::size_t size, int buffer,
                                  int value) const {
  return place_of(network_->stages[stage].sizes[size], value, stage, buffer);
}

void Workspace::run_body(std::size_t stage, std::size_t size, int buffer) {
  for (const auto& operation : bound(stage, size, buffer).body) operation->run();
}

void Workspace::run_head(std::size_t stage, std::size_t size, int buffer) {
  for (const auto& operation : bound(stage, size, buffer).head) operation->run();
}

std::span<const float> Workspace::logits(std::size_t stage, std::size_t size, int buffer,
                                         int row) const {
  const CompiledSegment& segment = network_->stages[stage].sizes[size];
  const auto classes = static_cast<std::size_t>(network_->classes);
  const auto* rows =
      reinterpret_cast<const float*>(place_of(segment, segment.logits, stage, buffer));
  return {rows + static_cast<std::size_t>(row) * classes, classes};
}

const std::byte* Workspace::output_row(std::size_t stage, std::size_t size, int buffer,
                                       std::size_t output, int row) const {
  const CompiledSegment& segment = network_->stages[stage].sizes[size];
  const int value = segment.outputs[output];
  return place_of(segment, value, stage, buffer) +
         segment.values[static_cast<std::size_t>(value)].layout.bytes() *
             static_cast<std::size_t>(row);
}

}  // namespace offramp::runtime
