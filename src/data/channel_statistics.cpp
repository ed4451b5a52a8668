#include <algorithm>
#include <cmath>
#include <mutex>

#include "core/error.h"
#include "core/parallel.h"
#include "data/dataset.h"

namespace offramp::data {

ChannelStatistics channel_statistics(const Dataset& dataset,
                                     std::span<const std::int64_t> indices) {
  if (indices.empty()) throw Error("there are no images to compute mean and standard deviation of");
  // The sums are of whole numbers, so they are exact and do not depend on the order of the threads.
  std::array<std::uint64_t, 3> sum{}, squares{};
  std::mutex mutex;
  constexpr std::size_t kChunk = 256;
  core::parallel_for((indices.size() + kChunk - 1) / kChunk, [&](std::size_t chunk) {
    std::array<std::uint64_t, 3> chunk_sum{}, chunk_squares{};
    const std::size_t end = std::min(indices.size(), (chunk + 1) * kChunk);
    dataset.will_need(indices.subspan(chunk * kChunk, end - chunk * kChunk));
    for (std::size_t i = chunk * kChunk; i < end; ++i) {
      const auto rgb = dataset.image(indices[i]);
      for (std::size_t p = 0; p < rgb.size(); p += 3) {
        for (std::size_t c = 0; c < 3; ++c) {
          const std::uint64_t value = rgb[p + c];
          chunk_sum[c] += value;
          chunk_squares[c] += value * value;
        }
      }
    }
    const std::lock_guard lock(mutex);
    for (std::size_t c = 0; c < 3; ++c) sum[c] += chunk_sum[c], squares[c] += chunk_squares[c];
  });
  const double count = static_cast<double>(indices.size()) * dataset.height * dataset.width;
  ChannelStatistics statistics{};
  for (std::size_t c = 0; c < 3; ++c) {
    const double mean = static_cast<double>(sum[c]) / count;
    const double variance = static_cast<double>(squares[c]) / count - mean * mean;
    statistics.mean[c] = static_cast<float>(mean / 255);
    statistics.std[c] = static_cast<float>(std::sqrt(std::max(0.0, variance)) / 255);
  }
  return statistics;
}

}  // namespace offramp::data
