#include "eval/reliability.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace offramp::eval {
namespace {

constexpr std::size_t kBins = kReliabilityBins;

std::size_t bin_of(double confidence) {
  const auto boundary = [](std::size_t i) { return static_cast<double>(i) / kBins; };
  auto bin = static_cast<std::size_t>(std::clamp(std::ceil(confidence * kBins) - 1, 0.0, 14.0));
  // Rounding of the product may have moved it past the boundary of a bin.
  while (bin > 0 && confidence <= boundary(bin)) --bin;
  while (bin + 1 < kBins && confidence > boundary(bin + 1)) ++bin;
  return bin;
}

}  // namespace

void Reliability::add(double confidence, bool is_correct) {
  Sums& bin = sums_[bin_of(confidence)];
  ++bin.images;
  bin.correct += is_correct;
  bin.confidence += confidence;
}

std::array<ReliabilityBin, kReliabilityBins> Reliability::bins() const {
  std::array<ReliabilityBin, kReliabilityBins> bins;
  for (std::size_t b = 0; b < kBins; ++b) {
    if (sums_[b].images == 0) continue;
    const auto images = static_cast<double>(sums_[b].images);
    bins[b] = {sums_[b].images, sums_[b].confidence / images,
               static_cast<double>(sums_[b].correct) / images};
  }
  return bins;
}

double Reliability::error() const {
  std::int64_t images = 0;
  for (const Sums& bin : sums_) images += bin.images;
  double error = 0;
  for (const Sums& bin : sums_)
    error +=
        std::abs(static_cast<double>(bin.correct) - bin.confidence) / static_cast<double>(images);
  return error;
}

}  // namespace offramp::eval
