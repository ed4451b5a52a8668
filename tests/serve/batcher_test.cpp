#include "serve/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "core/file.h"
#include "model/model_file.h"
#include "policy/binomial.h"
#include "runtime/kernels_name.h"
#include "serve/decoder.h"
#include "tests/api/example_model.h"
#include "tests/support/graphs.h"
#include "tests/support/image_files.h"
#include "tests/support/reference.h"

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

TEST_F(BatcherTest, RefusesImagesThatWouldWaitLongerThanTheLimit) {
  start({.max_wait_ms = 1e-6}, 1, 1);
  // Nothing was measured yet, so only the length of the queue is limited.
  EXPECT_FALSE(batcher_->is_full());
  block();
  EXPECT_EQ(submit(job(1)), Batcher::Admission::admitted);
  // The model had images all the time for at least a period of the measurement.
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  release();
  ImageJob last = job(2);
  std::promise<Batcher::Admission> while_running;
  std::promise<void> go;
  for (int i = 0; i < 6000 && batcher_->pending() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  // Where no image is before it, an image is taken whatever the rate.
  EXPECT_FALSE(batcher_->is_full());
  last.done = [&](const ImageResult&) {
    while_running.set_value(submit(job(3)));
    go.get_future().wait();
  };
  EXPECT_EQ(submit(std::move(last)), Batcher::Admission::admitted);
  EXPECT_EQ(while_running.get_future().get(), Batcher::Admission::admitted);
  EXPECT_EQ(submit(job(4)), Batcher::Admission::queue_full);
  EXPECT_TRUE(batcher_->is_full());
  go.set_value();
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

TEST_F(BatcherTest, ServesOthersWhileALargeImageIsDecoded) {
  start({}, 1, 1);
  const std::vector<std::byte> large = image::encode_png(test::flat_image(3000, 3000, 1, 2, 3));
  std::vector<ImageJob> jobs;
  jobs.push_back(job(1));
  jobs.back().image = ImageView::encoded(large);
  jobs.back().is_to_decode = true;
  for (int i = 2; i < 10; ++i) jobs.push_back(job(i));
  batcher_->submit(std::move(jobs));
  batcher_->close();
  ASSERT_EQ(numbers_.size(), 9u);
  EXPECT_EQ(numbers_.back(), 1);
  for (const ImageResult& result : results_) EXPECT_EQ(result.kind, ImageResult::Kind::answered);
}

TEST_F(BatcherTest, GivesDecodedImagesTheAnswersOfTheLibrary) {
  const Batcher& batcher = start({}, 2, 4);
  Session session(Model::load(folder_.path() / "m.safetensors", {.precision = "f32"}));
  std::vector<std::vector<std::byte>> files;
  for (int i = 0; i < 8; ++i)
    files.push_back(image::encode_png(test::patterned_image(20 + 60 * i, 30 + 40 * i, i)));
  std::vector<ImageJob> jobs;
  for (int i = 0; i < 8; ++i) {
    jobs.push_back(job(i));
    jobs.back().image = ImageView::encoded(files[static_cast<std::size_t>(i)]);
    jobs.back().is_to_decode = true;
  }
  batcher_->submit(std::move(jobs));
  batcher_->close();
  ASSERT_EQ(results_.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) {
    const Answer expected =
        session.classify(ImageView::encoded(files[static_cast<std::size_t>(numbers_[i])]));
    EXPECT_EQ(results_[i].answer.probability, expected.probability);
    EXPECT_EQ(results_[i].answer.exit, expected.exit);
  }
  EXPECT_EQ(batcher.waiting(), 0);
}

TEST_F(BatcherTest, CountsTheMemoryOfLargeImages) {
  start({}, 1, 1);
  const std::vector<std::byte> large = image::encode_png(test::flat_image(400, 400, 1, 2, 3));
  const auto budget = std::make_shared<Budget>(400 * 400 * Decoder::kBytesPerPixel);
  for (int i = 0; i < 2; ++i) {  // the input itself needs memory too
    ImageJob one = job(i);
    one.image = ImageView::encoded(large);
    one.is_to_decode = true;
    if (i == 0) one.budget = budget;
    submit(std::move(one));
  }
  batcher_->close();
  ASSERT_EQ(results_.size(), 2u);
  const std::size_t first = numbers_[0] == 0 ? 0 : 1;
  EXPECT_EQ(results_[first].kind, ImageResult::Kind::no_room);
  EXPECT_EQ(results_[1 - first].kind, ImageResult::Kind::answered);
  EXPECT_EQ(budget->used(), 0u);
  EXPECT_EQ(batcher_->stats().no_room, 1);
}

/// A batcher whose model has a certified bound on disagreement.
class AuditTest : public BatcherTest {
 protected:
  static constexpr int kImages = 60;

  AuditTest() {
    file_ = example_model(small_resnet());
    images_ = graph::random_images(file_.graph, kImages, 5);
    each_ = images_.size() / kImages;
  }

  /// A threshold of exit 1 by which half of the images leave there.
  float median_score() {
    model::save_model(folder_.path() / "m.safetensors", file_);
    Session session(Model::load(folder_.path() / "m.safetensors", {.precision = "f32"}),
                    Stop::at_threshold(0));
    std::vector<float> scores;
    for (std::size_t i = 0; i < kImages; ++i)
      scores.push_back(session.classify(image(i)).probability);
    std::ranges::nth_element(scores, scores.begin() + kImages / 2);
    return scores[kImages / 2];
  }
  ImageView image(std::size_t i) const {
    return ImageView::normalised(std::span<const float>(images_).subspan(i * each_, each_));
  }

  /// @param threshold  of exit 1; images that do not leave there go to the last exit
  /// @param disagreed  of the 1,000 certify images
  void start_watched(float threshold, int disagreed, WatchOptions watch) {
    policy::ChosenPolicy chosen;
    chosen.policy = policy::never_stop(3);
    chosen.policy.thresholds = {threshold, 1.f};
    chosen.guarantee =
        policy::Guarantee{"harm", 0.1, 0.05, 0.04, 1000, 10, 0.05, "f32", runtime::kernels_name()};
    chosen.guarantee->disagreement = policy::DisagreementBound{
        1e-3, disagreed, policy::clopper_pearson_upper(disagreed, 1000, 1e-3)};
    const policy::PathStep never{.thresholds = policy::Thresholds(2), .disagreed = 0};
    chosen.path = policy::CertifiedPath{
        .steps = {never,
                  never,
                  {.thresholds = {threshold, 1.f}, .counted = 10, .disagreed = disagreed}},
        .chosen = 2};
    file_.policy = chosen;
    model::save_model(folder_.path() / "m.safetensors", file_);
    start({.watch = watch,
           .audit_seed = 7,
           .on_alarm =
               [this](const WatchStats& stats) {
                 const std::lock_guard lock(mutex_);
                 alarms_.push_back(stats.why);
               }},
          2, 4);
  }
  void submit_all() {
    std::vector<ImageJob> jobs;
    for (std::size_t i = 0; i < kImages; ++i) {
      jobs.push_back(job(static_cast<int>(i)));
      jobs.back().image = image(i);
    }
    batcher_->submit(std::move(jobs));
  }
  WatchStats wait_for_audits(std::int64_t count) {
    for (int i = 0; i < 6000 && batcher_->stats().watch.audits < count; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return batcher_->stats().watch;
  }
  /// [images] the classes by a rule, as the library finds them.
  std::vector<int> classes_by(const Stop& stop) {
    Session session(Model::load(folder_.path() / "m.safetensors", {.precision = "f32"}), stop);
    std::vector<int> classes;
    for (std::size_t i = 0; i < kImages; ++i)
      classes.push_back(session.classify(image(i)).class_index);
    return classes;
  }

  model::ModelFile file_;
  std::vector<float> images_;
  std::size_t each_ = 0;
  std::vector<std::string> alarms_;
};

TEST_F(AuditTest, EqualsTheCompleteRunOfEveryImageUnderLoad) {
  start_watched(median_score(), 870, {.audit_share = 1});
  for (int i = 0; i < 5; ++i) submit_all();
  const WatchStats watch = wait_for_audits(5 * kImages);
  const std::vector<int> early = classes_by(Stop::by_policy()), last = classes_by(Stop::never());
  std::int64_t differing = 0;
  for (std::size_t i = 0; i < kImages; ++i) differing += early[i] != last[i];
  ASSERT_GT(differing, 0);
  ASSERT_LT(differing, kImages);
  EXPECT_EQ(watch.state, WatchStats::State::holding);
  EXPECT_EQ(watch.audits, 5 * kImages);
  EXPECT_EQ(watch.disagreements, 5 * differing);
  EXPECT_EQ(watch.dropped, 0);
  // Audits are no answers.
  EXPECT_EQ(batcher_->stats().answered, 5 * kImages);
  EXPECT_EQ(numbers_.size(), 5u * kImages);
  EXPECT_TRUE(alarms_.empty());
}

TEST_F(AuditTest, DrawsItsShareAndOnlyOfImagesThatFollowThePolicy) {
  start_watched(median_score(), 870, {.audit_share = 0.25});
  for (int i = 0; i < 20; ++i) submit_all();
  std::vector<ImageJob> others;
  for (int i = 0; i < 200; ++i) others.push_back(job(i, {.stop = Stop::at_threshold(0)}));
  for (int i = 0; i < 200; ++i) others.push_back(job(i, {.deadline_ms = 1e6}));
  batcher_->submit(std::move(others));
  for (int i = 0; i < 6000 && batcher_->pending() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  // 1,200 tosses: 300 audits with a standard deviation of 15; the seed is fixed.
  const WatchStats watch = wait_for_audits(240);
  EXPECT_GE(watch.audits, 240);
  EXPECT_LE(watch.audits, 360);
}

TEST_F(AuditTest, CountsImagesThatReachTheLastExitAsAgreeing) {
  start_watched(1, 0, {.audit_share = 1});
  submit_all();
  const WatchStats watch = wait_for_audits(kImages);
  EXPECT_EQ(watch.audits, kImages);
  EXPECT_EQ(watch.disagreements, 0);
}

TEST_F(AuditTest, RaisesAnAlarmAndStaysWithThePolicyUnlessToldOtherwise) {
  start_watched(0.15f, 0, {.audit_share = 1, .alarm_at = 1000});
  for (int i = 0; i < 3; ++i) submit_all();
  for (int i = 0; i < 6000 && batcher_->stats().watch.alarms == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  batcher_->close();
  const WatchStats watch = batcher_->stats().watch;
  EXPECT_EQ(watch.state, WatchStats::State::alarm);
  EXPECT_EQ(watch.alarms, 1);
  ASSERT_EQ(alarms_.size(), 1u);
  EXPECT_THAT(alarms_[0], testing::HasSubstr("the certified bound is 0.688 %"));
  EXPECT_LT(batcher_->stats().exits[2], 3 * kImages);
}

TEST_F(AuditTest, MayAnswerAnAlarmWithAMoreCautiousStepOrTheLastExit) {
  for (const OnAlarm reaction : {OnAlarm::cautious, OnAlarm::last}) {
    start_watched(0.15f, 0, {.audit_share = 1, .on_alarm = reaction, .alarm_at = 1000});
    for (int i = 0; i < 3; ++i) submit_all();
    for (int i = 0; i < 6000 && batcher_->stats().watch.alarms == 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    for (int i = 0; i < 6000 && batcher_->pending() > 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const std::vector<std::int64_t> before = batcher_->stats().exits;
    submit_all();
    batcher_->close();
    // Both steps before the chosen one never stop early.
    EXPECT_EQ(batcher_->stats().exits[2] - before[2], kImages);
    const WatchStats watch = batcher_->stats().watch;
    EXPECT_EQ(watch.step, reaction == OnAlarm::cautious ? std::optional(1) : std::nullopt);
    EXPECT_EQ(watch.state == WatchStats::State::alarm, reaction == OnAlarm::last);
    EXPECT_EQ(watch.alarms, 1);
  }
}

TEST_F(AuditTest, WatchesNothingWithoutAStoredBound) {
  start_watched(0.15f, 870, {.audit_share = 1});
  file_.policy->guarantee->disagreement.reset();
  for (policy::PathStep& step : file_.policy->path->steps) step.disagreed.reset();
  model::save_model(folder_.path() / "m.safetensors", file_);
  start({.watch = {.audit_share = 1}}, 2, 4);
  submit_all();
  batcher_->close();
  const WatchStats watch = batcher_->stats().watch;
  EXPECT_EQ(watch.state, WatchStats::State::off);
  EXPECT_THAT(watch.why, testing::HasSubstr("no bound stored"));
  EXPECT_EQ(watch.audits, 0);
  file_.policy->guarantee->kernels = "elsewhere";
  model::save_model(folder_.path() / "m.safetensors", file_);
  start({.watch = {.audit_share = 1}}, 2, 4);
  EXPECT_EQ(batcher_->stats().watch.state, WatchStats::State::off);
}

TEST_F(AuditTest, CountsResultsInTheOrderOfTheImagesHoweverLongTheirAuditsWait) {
  // A bound of 15 %. Every tenth image is classified differently, the others leave at the last
  // exit.
  start_watched(median_score(), 115, {.audit_share = 1});
  Session session(Model::load(folder_.path() / "m.safetensors", {.precision = "f32"}));
  const std::vector<int> last = classes_by(Stop::never());
  std::optional<std::size_t> differs, stays;
  for (std::size_t i = 0; i < kImages; ++i) {
    const Answer answer = session.classify(image(i));
    if (answer.class_index != last[i]) differs = i;
    if (answer.exit == 3) stays = i;
  }
  ASSERT_TRUE(differs && stays);
  block();
  std::vector<ImageJob> jobs;
  for (int i = 0; i < 400; ++i) {
    jobs.push_back(job(i));
    jobs.back().image = image(i % 10 == 9 ? *differs : *stays);
  }
  batcher_->submit(std::move(jobs));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // all of them wait
  release();
  const WatchStats watch = wait_for_audits(401);
  EXPECT_EQ(watch.audits, 401);
  EXPECT_GE(watch.disagreements, 40);
  EXPECT_LE(watch.disagreements, 41);
  EXPECT_EQ(watch.alarms, 0);
}

TEST_F(AuditTest, DoesNotRefuseAnImageForWantOfMemoryForItsAudit) {
  start_watched(0.15f, 870, {.audit_share = 1});
  ImageJob one = job(1);
  one.budget = std::make_shared<Budget>(100);
  submit(std::move(one));
  batcher_->close();
  ASSERT_EQ(results_.size(), 1u);
  EXPECT_EQ(results_[0].kind, ImageResult::Kind::answered);
  const WatchStats watch = batcher_->stats().watch;
  EXPECT_EQ(watch.dropped, 1);
  EXPECT_EQ(watch.disagreements, 1);  // a dropped audit counts as one
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
