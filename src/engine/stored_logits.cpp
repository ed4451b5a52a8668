#include "engine/stored_logits.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "graph/random_weights.h"
#include "runtime/omp_threads.h"
#include "runtime/refill_batcher.h"

namespace offramp::engine {
namespace {

constexpr float kTolerance = 0.02f;

}  // namespace

std::vector<float> image_major_logits(
    const std::shared_ptr<const runtime::CompiledNetwork>& network, std::span<const float> images) {
  const runtime::OmpThreads threads(network->threads);
  const auto size = static_cast<std::size_t>(core::element_count(network->input));
  const std::size_t count = images.size() / size;
  const auto exits = static_cast<std::size_t>(network->num_exits);
  const auto classes = static_cast<std::size_t>(network->classes);
  std::vector<float> logits(count * exits * classes);
  runtime::RefillBatcher stream(network);
  const core::ExitVisitor note = [&](std::int64_t image, const core::ExitOutput& output) {
    const std::size_t row =
        static_cast<std::size_t>(image) * exits + static_cast<std::size_t>(output.exit_index);
    std::ranges::copy(output.logits, logits.begin() + static_cast<std::ptrdiff_t>(row * classes));
    return false;
  };
  for (std::size_t n = 0; n < count; ++n)
    stream.push(static_cast<std::int64_t>(n), images.subspan(n * size, size), note);
  stream.flush(note);
  return logits;
}

std::vector<float> logits_to_store(const std::shared_ptr<const runtime::CompiledNetwork>& network,
                                   const graph::Graph& graph, std::uint64_t seed) {
  return image_major_logits(network, graph::random_images(graph, kCheckedImages, seed));
}

bool gives_stored_logits(const std::shared_ptr<const runtime::CompiledNetwork>& network,
                         const model::ModelFile& model) {
  if (!model.deployment || model.deployment->check.logits.empty()) return true;
  const model::StoredLogits& stored = model.deployment->check;
  const std::vector<float> here = logits_to_store(network, model.graph, stored.seed);
  if (here.size() != stored.logits.size()) return false;
  const auto exits = static_cast<std::size_t>(network->num_exits);
  const auto classes = static_cast<std::size_t>(network->classes);
  // Each exit is compared by itself: a wrong exit with small logits would not be noticed beside an
  // exit with large ones.
  for (std::size_t exit = 0; exit < exits; ++exit) {
    float largest = 0, difference = 0;
    for (std::size_t image = 0; image < kCheckedImages; ++image)
      for (std::size_t c = 0; c < classes; ++c) {
        const std::size_t at = (image * exits + exit) * classes + c;
        if (!std::isfinite(here[at])) return false;
        largest = std::max(largest, std::abs(stored.logits[at]));
        difference = std::max(difference, std::abs(here[at] - stored.logits[at]));
      }
    if (difference > kTolerance * largest) return false;
  }
  return true;
}

}  // namespace offramp::engine
