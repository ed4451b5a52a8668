#include "data/prefetch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>

namespace offramp::data {
namespace {

TEST(Prefetch, GivesTheSequenceFromAnyStep) {
  Prefetch<std::int64_t> squares([](std::int64_t step, std::int64_t& v) { v = step * step; }, 3,
                                 10);
  for (std::int64_t step = 10; step < 500; ++step) EXPECT_EQ(squares.next(), step * step);
}

TEST(Prefetch, WorksWithRoomForOne) {
  Prefetch<std::int64_t> steps([](std::int64_t step, std::int64_t& v) { v = step; }, 1);
  for (std::int64_t step = 0; step < 100; ++step) EXPECT_EQ(steps.next(), step);
}

TEST(Prefetch, MakesNoMoreThanFitsAndLeavesTheValueInUseAlone) {
  std::atomic<std::int64_t> made = 0;
  Prefetch<std::int64_t> steps(
      [&](std::int64_t step, std::int64_t& v) {
        v = step;
        ++made;
      },
      2);
  for (std::int64_t step = 0; step < 50; ++step) {
    const std::int64_t& value = steps.next();
    while (made < step + 3) std::this_thread::yield();
    // All slots are in use, so the thread cannot have begun another value.
    EXPECT_EQ(made, step + 3);
    EXPECT_EQ(value, step);
  }
}

TEST(Prefetch, PassesAnExceptionOnAfterTheValuesBeforeIt) {
  Prefetch<std::int64_t> steps(
      [](std::int64_t step, std::int64_t& v) {
        if (step == 2) throw std::runtime_error("step 2 failed");
        v = step;
      },
      3);
  EXPECT_EQ(steps.next(), 0);
  EXPECT_EQ(steps.next(), 1);
  for (int again = 0; again < 2; ++again) {
    try {
      steps.next();
      FAIL() << "nothing thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "step 2 failed");
    }
  }
}

TEST(Prefetch, StopsAtAnyMoment) {
  for (int taken = 0; taken < 60; ++taken) {
    Prefetch<std::string> texts(
        [](std::int64_t step, std::string& text) { text.assign(1000, static_cast<char>(step)); },
        2);
    for (int i = 0; i < taken % 6; ++i) texts.next();
  }
}

TEST(Prefetch, CountsTheTimeWaited) {
  std::atomic<bool> go = false;
  Prefetch<int> steps(
      [&](std::int64_t, int& v) {
        while (!go) std::this_thread::yield();
        v = 1;
      },
      1);
  EXPECT_EQ(steps.seconds_waited(), 0);
  std::thread starter([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    go = true;
  });
  steps.next();
  starter.join();
  EXPECT_GT(steps.seconds_waited(), 0);
}

}  // namespace
}  // namespace offramp::data
