#include "serve/service_time.h"

#include <gtest/gtest.h>

namespace offramp::serve {
namespace {

ServiceTime::TimePoint at(int milliseconds) {
  return ServiceTime::TimePoint(std::chrono::milliseconds(milliseconds));
}

TEST(ServiceTime, IsTheBusyTimePerImageOfTheLastPeriod) {
  ServiceTime time;
  time.begin_busy(at(1000));
  for (int i = 1; i < 20; ++i) time.add_image(at(1000 + 5 * i), true);
  EXPECT_EQ(time.ms_per_image(), 0);
  time.add_image(at(1100), true);
  EXPECT_DOUBLE_EQ(time.ms_per_image(), 5);
  for (int i = 1; i <= 10; ++i) time.add_image(at(1100 + 10 * i), true);
  EXPECT_DOUBLE_EQ(time.ms_per_image(), 10);
}

TEST(ServiceTime, LeavesTheTimeWithoutImagesOut) {
  ServiceTime time;
  for (int i = 0; i < 50; ++i) {
    time.begin_busy(at(1000 * i));
    time.add_image(at(1000 * i + 2), true);
    time.end_busy(at(1000 * i + 2));
  }
  EXPECT_DOUBLE_EQ(time.ms_per_image(), 2);
}

TEST(ServiceTime, RecoversFromASlowImageByFastOnesOneAtATime) {
  ServiceTime time;
  time.begin_busy(at(0));
  time.add_image(at(700), true);
  time.end_busy(at(700));
  EXPECT_DOUBLE_EQ(time.ms_per_image(), 700);
  for (int i = 0; i < 50; ++i) {
    time.begin_busy(at(1000 + 10 * i));
    time.add_image(at(1002 + 10 * i), true);
    time.end_busy(at(1002 + 10 * i));
  }
  EXPECT_DOUBLE_EQ(time.ms_per_image(), 2);
}

TEST(ServiceTime, DoesNotCountImagesThatWereNotRun) {
  ServiceTime time;
  time.begin_busy(at(0));
  for (int i = 1; i < 100; ++i) time.add_image(at(i), i % 10 == 0);
  time.add_image(at(100), true);
  EXPECT_DOUBLE_EQ(time.ms_per_image(), 10);
  for (int i = 101; i <= 300; ++i) time.add_image(at(i), false);
  EXPECT_DOUBLE_EQ(time.ms_per_image(), 10) << "periods without images that were run";
}

}  // namespace
}  // namespace offramp::serve
