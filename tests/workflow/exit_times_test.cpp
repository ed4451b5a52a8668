#include "workflow/exit_times.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace offramp::workflow {
namespace {

// By hand: layers of 1, 2 and 3 ms, least heads of 0.25 ms, heads of 0.5 and 1 ms at each place.
TEST(TimesOfParts, ChargeLayersWithNoHead) {
  const std::vector<double> every = {1.5, 2.5, 5, 6, 9}, least = {1.25, 3.5, 6.5};
  const PartTimes times = times_of_parts(every, least, 6);
  EXPECT_EQ(times.body, (std::vector<double>{1, 1, 3, 3, 6}));
  EXPECT_EQ(times.head, (std::vector<double>{0.5, 1, 0.5, 1, 0}));
}

TEST(TimesOfParts, StayInOrderWhereTheMeasurementIsNoisy) {
  const std::vector<double> every = {1, 0.5, 2}, least = {1.5, 1, 2.5};
  const PartTimes times = times_of_parts(every, least, 2);
  EXPECT_TRUE(std::ranges::is_sorted(times.body));
  EXPECT_EQ(times.body.back(), 2);
  for (const double head : times.head) EXPECT_GE(head, 0);
}

}  // namespace
}  // namespace offramp::workflow
