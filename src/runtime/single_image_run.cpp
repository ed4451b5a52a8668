#include "runtime/single_image_run.h"

#include <cstring>
#include <utility>

#include "runtime/onednn.h"

namespace offramp::runtime {

SingleImageRun::SingleImageRun(std::shared_ptr<const CompiledNetwork> network)
    : workspace_(std::move(network)) {}

void SingleImageRun::begin(std::span<const float> pixels) {
  workspace_.put_image(0, 0, pixels);
  stage_ = 0;
  exit_index_ = -1;
  macs_ = 0;
}

std::span<const float> SingleImageRun::advance() {
  const std::vector<CompiledStage>& stages = network().stages;
  OFFRAMP_ASSERT(stage_ < stages.size());
  const OmpThreads threads(network().threads);
  for (;;) {
    if (stage_ > 0) {
      const std::vector<Layout>& inputs = stages[stage_].inputs;
      for (std::size_t i = 0; i < inputs.size(); ++i)
        std::memcpy(workspace_.input_row(stage_, 0, i, 0),
                    workspace_.output_row(stage_ - 1, 0, 0, i, 0), inputs[i].bytes());
    }
    const std::size_t ran = stage_++;
    workspace_.run_body(ran, 0, 0);
    macs_ += stages[ran].body_macs;
    if (stages[ran].exit_index < 0) continue;
    workspace_.run_head(ran, 0, 0);
    macs_ += stages[ran].head_macs;
    exit_index_ = stages[ran].exit_index;
    return workspace_.logits(ran, 0, 0, 0);
  }
}

}  // namespace offramp::runtime
