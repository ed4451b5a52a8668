#include "serve/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "core/file.h"
#include "model/model_file.h"
#include "tests/api/example_model.h"
#include "tests/support/graphs.h"

namespace offramp::serve {
namespace {

using std::chrono::steady_clock;
using test::example_model;
using testing::ElementsAre;

class BatcherTest : public testing::Test {
 protected:
  BatcherTest() {
    const model::ModelFile file = example_model(small_resnet());
    model::save_model(folder_.path() / "m.safetensors", file);
    values_ = graph::random_images(file.graph, 1, 3);
  }

  Batcher& start(const BatcherOptions& options, int threads, int batch) {
    batcher_ = std::make_unique<Batcher>(
        Model::load(folder_.path() / "m.safetensors",
                    {.precision = "f32", .threads = threads, .batch = batch}),
        options);
    return *batcher_;
  }
  /// An image whose result is appended to results_.
  ImageJob job(int number, const ImageRule& rule = {}) {
    ImageJob job;
    job.image = ImageView::normalised(values_);
    job.rule = rule;
    job.arrived = steady_clock::now();
    job.done = [this, number](ImageResult result) {
      const std::lock_guard lock(mutex_);
      numbers_.push_back(number);
      results_.push_back(std::move(result));
    };
    return job;
  }
  /// Submits an image whose answer keeps the batcher's thread busy until release().
  void block() {
    ImageJob first = job(0);
    first.done = [this](const ImageResult&) {
      blocked_.set_value();
      release_.get_future().wait();
    };
    std::vector<ImageJob> jobs;
    jobs.push_back(std::move(first));
    ASSERT_EQ(batcher_->submit(std::move(jobs)), Batcher::Admission::admitted);
    blocked_.get_future().wait();
  }
  void release() { release_.set_value(); }
  Batcher::Admission submit(ImageJob one) {
    std::vector<ImageJob> jobs;
    jobs.push_back(std::move(one));
    return batcher_->submit(std::move(jobs));
  }

  core::TemporaryFolder folder_;
  std::vector<float> values_;
  std::mutex mutex_;
  std::vector<int> numbers_;
  std::vector<ImageResult> results_;
  std::promise<void> blocked_, release_;
  std::unique_ptr<Batcher> batcher_;
};

TEST_F(BatcherTest, TakesUrgentImagesFirst) {
  start({}, 1, 1);
  block();
  submit(job(1, {.priority = 9}));
  submit(job(2, {.priority = 5}));
  submit(job(3, {.priority = 1}));
  submit(job(4, {.priority = 1}));
  release();
  batcher_.reset();  // answers everything
  EXPECT_THAT(numbers_, ElementsAre(3, 4, 2, 1));
}

TEST_F(BatcherTest, RefusesImagesBeyondItsQueue) {
  start({.max_queue = 2}, 1, 1);
  block();
  EXPECT_EQ(submit(job(1)), Batcher::Admission::admitted);
  EXPECT_EQ(submit(job(2)), Batcher::Admission::admitted);
  EXPECT_EQ(submit(job(3)), Batcher::Admission::queue_full);
  EXPECT_EQ(batcher_->waiting(), 2);
  release();
  batcher_.reset();
  EXPECT_EQ(numbers_.size(), 2u);
}

TEST_F(BatcherTest, DoesNotRunImagesThatWereCancelled) {
  start({}, 1, 1);
  block();
  ImageJob cancelled = job(1);
  cancelled.cancellation.cancel();
  submit(std::move(cancelled));
  submit(job(2));
  release();
  batcher_.reset();
  ASSERT_EQ(results_.size(), 2u);
  EXPECT_EQ(results_[0].kind, ImageResult::Kind::cancelled);
  EXPECT_EQ(results_[1].kind, ImageResult::Kind::answered);
}

TEST_F(BatcherTest, GivesTheBestAnswerSoFarAtADeadlineThatPassedInTheQueue) {
  start({}, 1, 1);
  block();
  submit(job(1, {.stop = Stop::never(), .deadline_ms = 1}));
  submit(job(2, {.stop = Stop::never()}));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  release();
  batcher_.reset();
  ASSERT_THAT(numbers_, testing::UnorderedElementsAre(1, 2));
  const std::size_t first = numbers_[0] == 1 ? 0 : 1;
  EXPECT_EQ(results_[first].answer.exit, 1);
  EXPECT_TRUE(results_[first].answer.limited);
  EXPECT_EQ(results_[1 - first].answer.exit, 3);
}

TEST_F(BatcherTest, AnswersAFewImagesWithoutWaitingForABatchToFill) {
  start({}, 2, 64);
  std::vector<ImageJob> jobs;
  for (int i = 0; i < 3; ++i) jobs.push_back(job(i));
  batcher_->submit(std::move(jobs));
  // A batch never fills, and nothing ends the batcher: the answers come all the same.
  for (int i = 0; i < 6000 && batcher_->pending() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(batcher_->pending(), 0);
  EXPECT_EQ(batcher_->stats().answered, 3);
}

TEST_F(BatcherTest, FillsABatchForAsLongAsItMayDelayAnImage) {
  start({.max_queue_delay_ms = 20}, 1, 4);
  for (int i = 0; i < 5; ++i) submit(job(i));
  for (int i = 0; i < 6000 && batcher_->pending() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(batcher_->pending(), 0);
  EXPECT_EQ(batcher_->stats().alone, 0);
}

TEST_F(BatcherTest, CountsLatenciesInBucketsThatGrowByAQuarter) {
  LatencyCounts counts;
  EXPECT_EQ(counts.counts().size(), LatencyCounts::bounds_ms().size() + 1);
  counts.add(0);
  counts.add(0.1);
  counts.add(0.11);
  counts.add(1e9);
  EXPECT_EQ(counts.counts()[0], 2);
  EXPECT_EQ(counts.counts()[1], 1);
  EXPECT_EQ(counts.counts().back(), 1);
}

}  // namespace
}  // namespace offramp::serve
