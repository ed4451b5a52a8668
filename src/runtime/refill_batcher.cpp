#include "runtime/refill_batcher.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace offramp::runtime {

RefillBatcher::RefillBatcher(std::shared_ptr<const CompiledNetwork> network)
    : workspace_(std::move(network)),
      waiting_(workspace_.network().stages.size()),
      counts_(workspace_.network().stages.size()) {
  for (WaitingImages& waiting : waiting_)
    for (auto& images : waiting.images) images.resize(static_cast<std::size_t>(largest_batch()));
}

void RefillBatcher::push(std::int64_t image, std::span<const float> pixels,
                         const core::ExitVisitor& visit) {
  WaitingImages& waiting = waiting_[0];
  workspace_.put_image(waiting.buffer, waiting.rows, pixels);
  waiting.images[waiting.buffer][static_cast<std::size_t>(waiting.rows++)] = image;
  run_if_full(0, visit);
}

void RefillBatcher::flush(const core::ExitVisitor& visit) {
  const std::vector<int>& batches = network().batches;
  for (std::size_t stage = 0; stage < waiting_.size(); ++stage) {
    WaitingImages& waiting = waiting_[stage];
    while (waiting.rows > 0) {
      const auto after = std::upper_bound(batches.begin(), batches.end(), waiting.rows);
      const auto size = static_cast<std::size_t>(after - batches.begin()) - 1;
      counts_[stage].flushed_runs += 1;
      counts_[stage].flushed_images += batches[size];
      run(stage, size, waiting.buffer, visit);
      drop_front(stage, batches[size]);
    }
  }
}

void RefillBatcher::clear() {
  for (WaitingImages& waiting : waiting_) waiting.rows = waiting.rows_of_other = 0;
}

bool RefillBatcher::empty() const {
  return std::ranges::all_of(
      waiting_, [](const WaitingImages& stage) { return stage.rows + stage.rows_of_other == 0; });
}

void RefillBatcher::run_if_full(std::size_t stage, const core::ExitVisitor& visit) {
  WaitingImages& waiting = waiting_[stage];
  if (waiting.rows < largest_batch()) return;
  // Images that arrive while this batch runs go to the other buffer.
  const int full = waiting.buffer;
  waiting.buffer = 1 - full;
  waiting.rows = std::exchange(waiting.rows_of_other, 0);
  counts_[stage].full_batches += 1;
  run(stage, network().batches.size() - 1, full, visit);
}

void RefillBatcher::run(std::size_t stage, std::size_t size, int buffer,
                        const core::ExitVisitor& visit) {
  const CompiledStage& compiled = network().stages[stage];
  const int batch = network().batches[size];
  const bool has_exit = compiled.exit_index >= 0, last = stage + 1 == waiting_.size();
  workspace_.run_body(stage, size, buffer);
  if (has_exit) workspace_.run_head(stage, size, buffer);
  counts_[stage].images += batch;
  counts_[stage].macs += batch * (compiled.body_macs + compiled.head_macs);
  for (int row = 0; row < batch; ++row) {
    const std::int64_t image = waiting_[stage].images[buffer][static_cast<std::size_t>(row)];
    const bool leaves = has_exit && visit(image, {compiled.exit_index,
                                                  workspace_.logits(stage, size, buffer, row)});
    if (!leaves && !last) pass_to_next_stage(stage, size, buffer, row, image);
  }
  if (!last) run_if_full(stage + 1, visit);
}

void RefillBatcher::pass_to_next_stage(std::size_t stage, std::size_t size, int buffer, int row,
                                       std::int64_t image) {
  WaitingImages& next = waiting_[stage + 1];
  const bool full = next.rows == largest_batch();
  const int to = full ? 1 - next.buffer : next.buffer;
  const int place = full ? next.rows_of_other++ : next.rows++;
  next.images[to][static_cast<std::size_t>(place)] = image;
  const std::vector<Layout>& layouts = network().stages[stage + 1].inputs;
  for (std::size_t i = 0; i < layouts.size(); ++i)
    std::memcpy(workspace_.input_row(stage + 1, to, i, place),
                workspace_.output_row(stage, size, buffer, i, row), layouts[i].bytes());
}

void RefillBatcher::drop_front(std::size_t stage, int rows) {
  WaitingImages& waiting = waiting_[stage];
  waiting.rows -= rows;
  const auto left = static_cast<std::size_t>(waiting.rows);
  auto& images = waiting.images[waiting.buffer];
  std::copy_n(images.begin() + rows, left, images.begin());
  const std::vector<Layout>& layouts = network().stages[stage].inputs;
  for (std::size_t i = 0; i < layouts.size(); ++i)
    std::memmove(workspace_.input_row(stage, waiting.buffer, i, 0),
                 workspace_.input_row(stage, waiting.buffer, i, rows), layouts[i].bytes() * left);
}

}  // namespace offramp::runtime
