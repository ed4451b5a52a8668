#include "eval/reliability.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>

namespace offramp::eval {
namespace {

/// Returns the bin of one confidence.
std::size_t bin_of(double confidence) {
  Reliability reliability;
  reliability.add(confidence, true);
  const auto bins = reliability.bins();
  for (std::size_t b = 0; b < bins.size(); ++b)
    if (bins[b].images == 1) return b;
  return bins.size();
}

// The formula ceil(15 c) - 1 puts some of these into the neighbouring bin, because 15 c is rounded.
TEST(Reliability, PutsAConfidenceOnAnEdgeIntoTheBinBelow) {
  for (std::size_t edge = 1; edge <= 14; ++edge) {
    const double confidence = static_cast<double>(edge) / 15;
    EXPECT_EQ(bin_of(confidence), edge - 1);
    EXPECT_EQ(bin_of(std::nextafter(confidence, 1)), edge);
    EXPECT_EQ(bin_of(std::nextafter(confidence, 0)), edge - 1);
  }
  EXPECT_EQ(bin_of(0), 0u);
  EXPECT_EQ(bin_of(1), 14u);
}

TEST(Reliability, ComparesConfidenceWithAccuracyBinByBin) {
  Reliability reliability;
  reliability.add(0.9, true);
  reliability.add(0.92, false);
  reliability.add(0.5, true);
  const auto bins = reliability.bins();
  EXPECT_EQ(bins[13].images, 2);
  EXPECT_DOUBLE_EQ(bins[13].confidence, 0.91);
  EXPECT_DOUBLE_EQ(bins[13].accuracy, 0.5);
  EXPECT_EQ(bins[7].images, 1);
  EXPECT_EQ(bins[0].images, 0);
  EXPECT_EQ(bins[0].confidence, 0);
  // Computed by hand: (|1 - 1.82| + |1 - 0.5|) / 3.
  EXPECT_DOUBLE_EQ(reliability.error(), (0.82 + 0.5) / 3);
}

}  // namespace
}  // namespace offramp::eval
