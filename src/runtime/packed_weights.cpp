#include "runtime/packed_weights.h"

#include <algorithm>

#include "core/error.h"
#include "runtime/memory_plan.h"
#include "runtime/pages.h"
#include "runtime/weight_store.h"

namespace offramp {

using dnnl::memory;

SharedMemory PackedWeights::allocate(const memory::desc& desc) {
  // Side by side, so that many small weights share huge pages.
  constexpr std::size_t kChunk = std::size_t{1} << 22;
  const std::size_t bytes = aligned(desc.get_size());
  if (used_ + bytes > chunk_bytes_) {
    chunk_bytes_ = std::max(bytes, kChunk);
    chunk_ = allocate_pages(chunk_bytes_);
    used_ = 0;
  }
  std::byte* place = chunk_.get() + used_;
  used_ += bytes;
  bytes_ += bytes;
  return {memory(desc, cpu_engine(), place), chunk_};
}

SharedMemory PackedWeights::reordered(const Key& key, const memory::desc& plain_desc,
                                      const void* plain, const memory::desc& wanted,
                                      std::size_t most_bytes) {
  const float src = key.src.is_quantised() ? key.src.scale : 0;
  const float dst = key.src.is_quantised() ? key.dst.scale : 0;
  std::vector<SharedMemory>& made = made_[{key.name, key.argument, src, dst}];
  for (const SharedMemory& one : made)
    if (one.memory.get_desc() == wanted) return one;
  // Blocks of channels are filled up: for narrow groups, to many times their weights.
  const std::size_t bytes = bytes_ + aligned(wanted.get_size());
  if (bytes > most_bytes)
    throw Error("node \"{}\": {}", key.name,
                too_much("its weights and those before", bytes, most_bytes));
  // oneDNN reads it and does not write.
  memory from(plain_desc, cpu_engine(), const_cast<void*>(plain));
  SharedMemory to = allocate(wanted);
  dnnl::stream stream(cpu_engine());
  dnnl::reorder(from, to.memory).execute(stream, from, to.memory);
  stream.wait();
  return made.emplace_back(std::move(to));
}

WeightStore::WeightStore() : packed_(std::make_unique<PackedWeights>()) {}
WeightStore::~WeightStore() = default;

std::size_t WeightStore::bytes() const { return packed_->bytes(); }

}  // namespace offramp
