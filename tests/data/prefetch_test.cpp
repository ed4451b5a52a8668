#include "data/prefetch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

namespace offramp::data {
namespace {

TEST(Prefetch, GivesTheSequenceFromAnyStep) {
  Prefetch<std::int64_t> squares([](std::int64_t step, std::int64_t& v) { v = step * step; }, 3,
                                 10);
  for (std::int64_t step = 10; step < 500; ++step) EXPECT_EQ(squares.next(), step * step);
}

TEST(Prefetch, WorksWithABufferOfOneValue) {
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

// A clock that next() reads before and after it waits. The first reading lets the maker go on.
struct TestClock {
  using duration = std::chrono::steady_clock::duration;
  using time_point = std::chrono::steady_clock::time_point;

  static time_point now() {
    static int readings = 0;
    go = true;
    return time_point(std::chrono::seconds(5 * readings++));
  }
  static inline std::atomic<bool> go = false;
};

TEST(Prefetch, CountsTheTimeWaited) {
  TestClock::go = false;
  Prefetch<int, TestClock> steps(
      [](std::int64_t, int& v) {
        while (!TestClock::go) std::this_thread::yield();
        v = 1;
      },
      1);
  EXPECT_EQ(steps.seconds_waited(), 0);
  EXPECT_EQ(steps.next(), 1);
  EXPECT_EQ(steps.seconds_waited(), 5);
}

}  // namespace
}  // namespace offramp::data
