#include "engine/team.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>

namespace offramp::engine {
namespace {

/// A job that consists of `count` pieces of work and records which lanes did them.
class Pieces final : public Job {
 public:
  explicit Pieces(int count) : left_(count) {}
  bool has_work(int) const noexcept override {
    const std::lock_guard lock(mutex_);
    return left_ > 0;
  }
  void work(int lane) noexcept override {
    const std::lock_guard lock(mutex_);
    if (left_ == 0) return;
    lanes_.insert(lane);
    if (--left_ == 0) done_.notify_all();
  }
  void add(int count) {
    const std::lock_guard lock(mutex_);
    left_ += count;
  }
  void wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
  }
  std::set<int> lanes() const {
    const std::lock_guard lock(mutex_);
    return lanes_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable done_;
  int left_;
  std::set<int> lanes_;
};

TEST(Team, ServesEveryJobThatIsAttached) {
  Team team(3, 1);
  Pieces first(1000), second(1000);
  team.attach(first);
  team.attach(second);
  team.notify();
  first.wait();
  second.wait();
  for (const Pieces* job : {&first, &second})
    for (const int lane : job->lanes()) {
      EXPECT_GE(lane, 1);
      EXPECT_LE(lane, 3);
    }
  team.detach(first);
  second.add(50);
  team.notify();
  second.wait();
  team.detach(second);
}

TEST(Team, LeavesAJobAloneOnceItIsDetached) {
  Team team(2, 1);
  for (int round = 0; round < 200; ++round) {
    Pieces job(5);
    team.attach(job);
    team.notify();
    if (round % 2 == 0) job.wait();
    team.detach(job);  // the job is destroyed directly afterwards
  }
}

TEST(Team, WithoutThreadsTakesJobsAndDoesNothing) {
  Team team(0, 1);
  Pieces job(1);
  team.attach(job);
  team.notify();
  team.detach(job);
  EXPECT_THAT(job.lanes(), testing::IsEmpty());
}

}  // namespace
}  // namespace offramp::engine
