#include "data/batch_loader.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "data/epoch_order.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

using testing::HasSubstr;

Dataset dataset_of(int images) {
  Dataset dataset;
  dataset.height = 8;
  dataset.width = 6;
  dataset.classes = {"a", "b", "c"};
  core::KeyedRandom random(1, 1);
  for (int i = 0; i < images; ++i) {
    dataset.labels.push_back(i % 3);
    for (int value = 0; value < 8 * 6 * 3; ++value) {
      dataset.pixels.push_back(static_cast<std::uint8_t>(random.below(256)));
    }
  }
  return dataset;
}

BatchLoaderOptions options_for(const Dataset& dataset, int batch) {
  BatchLoaderOptions options;
  options.batch = batch;
  options.preprocessing.height = dataset.height;
  options.preprocessing.width = dataset.width;
  options.augmentation = {.crop_padding = 2, .flip = true, .cutout = 3};
  return options;
}

std::vector<std::int64_t> first_indices(std::int64_t count) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

std::string message(const Dataset& dataset, std::vector<std::int64_t> indices,
                    const BatchLoaderOptions& options) {
  return test::message_of([&] { BatchLoader(dataset, std::move(indices), options); });
}

TEST(BatchLoader, FollowsTheEpochOrderAndAugmentsByDataSetIndex) {
  const Dataset dataset = dataset_of(30);
  const std::vector<std::int64_t> indices = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29};
  const BatchLoaderOptions options = options_for(dataset, 3);
  BatchLoader loader(dataset, indices, options);
  ASSERT_EQ(loader.steps_per_epoch(), 3);
  Augmenter augmenter(options.preprocessing, options.augmentation, options.seed);
  std::vector<float> expected(8 * 6 * 3);
  for (std::uint64_t epoch = 0; epoch < 4; ++epoch) {
    const EpochOrder order(10, options.seed, epoch);
    for (std::size_t step = 0; step < 3; ++step) {
      const Batch& batch = loader.next();
      ASSERT_EQ(batch.count, 3);
      for (std::size_t i = 0; i < 3; ++i) {
        const std::int64_t place = static_cast<std::int64_t>(step * 3 + i);
        const std::int64_t image = indices[static_cast<std::size_t>(order[place])];
        EXPECT_EQ(batch.labels[i], image % 3);
        augmenter(dataset.image(image), epoch, static_cast<std::uint64_t>(image), expected);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                               batch.images.begin() + static_cast<std::ptrdiff_t>(i * 144)))
            << "epoch " << epoch << " step " << step << " image " << i;
      }
    }
  }
}

TEST(BatchLoader, StartsAnywhereInTheSequence) {
  const Dataset dataset = dataset_of(20);
  const BatchLoaderOptions options = options_for(dataset, 4);
  BatchLoader from_begin(dataset, first_indices(20), options);
  for (std::int64_t step = 0; step < 17; ++step) {
    const Batch batch = from_begin.next();
    BatchLoader from_step(dataset, first_indices(20), options, step);
    const Batch& same = from_step.next();
    EXPECT_EQ(same.images, batch.images) << step;
    EXPECT_EQ(same.labels, batch.labels) << step;
  }
}

TEST(BatchLoader, KeepsTheLastShortBatchWhenAsked) {
  const Dataset dataset = dataset_of(10);
  BatchLoaderOptions options = options_for(dataset, 4);
  options.drop_last = false;
  BatchLoader loader(dataset, first_indices(10), options);
  EXPECT_EQ(loader.steps_per_epoch(), 3);
  std::vector<std::int64_t> counts;
  for (int step = 0; step < 6; ++step) {
    const Batch& batch = loader.next();
    EXPECT_EQ(std::ssize(batch.labels), batch.count);
    EXPECT_EQ(std::ssize(batch.images), batch.count * 144);
    counts.push_back(batch.count);
  }
  EXPECT_EQ(counts, (std::vector<std::int64_t>{4, 4, 2, 4, 4, 2}));
}

// 23 images in batches of 5, with and without the last batch of 3.
class LoaderOfRanks : public testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(LoaderOfRanks, GivesTheRanksTogetherTheBatchesOfOneProcess) {
  const auto [world, drop_last] = GetParam();
  const Dataset dataset = dataset_of(23);
  BatchLoaderOptions options = options_for(dataset, 5);
  options.drop_last = drop_last;
  constexpr std::int64_t kFirstStep = 3;
  BatchLoader alone(dataset, first_indices(23), options, kFirstStep);
  std::vector<std::unique_ptr<BatchLoader>> ranks;
  options.world = world;
  for (options.rank = 0; options.rank < world; ++options.rank) {
    ranks.push_back(std::make_unique<BatchLoader>(dataset, first_indices(23), options, kFirstStep));
    EXPECT_EQ(ranks.back()->steps_per_epoch(), alone.steps_per_epoch());
  }
  for (std::int64_t step = 0; step < 3 * alone.steps_per_epoch(); ++step) {
    const Batch& whole = alone.next();
    std::vector<float> images;
    std::vector<std::int64_t> labels;
    for (const auto& rank : ranks) {
      const Batch& part = rank->next();
      EXPECT_EQ(part.count, std::ssize(part.labels));
      EXPECT_LE(std::abs(part.count - whole.count / world), 1) << "rows are shared out evenly";
      images.insert(images.end(), part.images.begin(), part.images.end());
      labels.insert(labels.end(), part.labels.begin(), part.labels.end());
    }
    EXPECT_EQ(images, whole.images) << step;
    EXPECT_EQ(labels, whole.labels) << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, LoaderOfRanks,
                         testing::Combine(testing::Values(1, 2, 3, 5), testing::Bool()));

TEST(BatchLoader, TheRanksOfAnEpochSeeEveryImageOnce) {
  Dataset dataset = dataset_of(12);
  std::iota(dataset.labels.begin(), dataset.labels.end(), 0);  // tells the images apart
  BatchLoaderOptions options = options_for(dataset, 4);
  options.world = 4;
  std::vector<std::int64_t> seen;
  for (options.rank = 0; options.rank < 4; ++options.rank) {
    BatchLoader loader(dataset, first_indices(12), options);
    for (std::int64_t step = 0; step < loader.steps_per_epoch(); ++step)
      for (const std::int64_t label : loader.next().labels) seen.push_back(label);
  }
  std::ranges::sort(seen);
  EXPECT_EQ(seen, first_indices(12));
}

/// Images that lie elsewhere than in memory and are decoded when they are read.
class CountingStore : public ImageStore {
 public:
  explicit CountingStore(Dataset images) : images_(std::move(images)) {}
  ImagePixels image(std::int64_t index) const override {
    const ImagePixels pixels = images_.image(index);
    return ImagePixels(std::vector<std::uint8_t>(pixels.begin(), pixels.end()));
  }
  void will_need(std::span<const std::int64_t> indices) const override {
    announced_ += indices.size();
  }
  bool decodes() const override { return true; }
  std::size_t announced() const { return announced_; }

 private:
  Dataset images_;
  mutable std::atomic<std::size_t> announced_{0};
};

TEST(BatchLoader, MakesTheSameBatchesOfStoredImages) {
  const Dataset dataset = dataset_of(20);
  Dataset elsewhere = dataset;
  elsewhere.pixels.clear();
  const auto store = std::make_shared<CountingStore>(dataset);
  elsewhere.stored = store;
  const BatchLoaderOptions options = options_for(dataset, 4);
  {
    BatchLoader here(dataset, first_indices(20), options);
    BatchLoader there(elsewhere, first_indices(20), options);
    for (int step = 0; step < 7; ++step) EXPECT_EQ(there.next().images, here.next().images);
  }
  EXPECT_GE(store->announced(), 7u * 4) << "each batch is announced before it is read";
}

TEST(BatchLoader, StopsAtAnyMoment) {
  const Dataset dataset = dataset_of(64);
  for (int taken = 0; taken < 40; ++taken) {
    BatchLoader loader(dataset, first_indices(64), options_for(dataset, 16), taken);
    for (int i = 0; i < taken % 5; ++i) loader.next();
  }
}

TEST(BatchLoader, SaysWhatCannotBeLoaded) {
  const Dataset dataset = dataset_of(10);
  const BatchLoaderOptions options = options_for(dataset, 4);
  EXPECT_THAT(message(dataset, {}, options), HasSubstr("there are no images"));
  EXPECT_THAT(message(dataset, {0, 1, 10, 2}, options),
              HasSubstr("index of an image is out of range: got 10 of 10 images"));
  EXPECT_THAT(message(dataset, {0, 1, -1, 2}, options), HasSubstr("got -1 of 10 images"));
  EXPECT_THAT(message(dataset, {0, 1, 2}, options),
              HasSubstr("batch must not be larger than the number of images: got 4 and 3"));
  BatchLoaderOptions wrong = options;
  wrong.batch = 0;
  EXPECT_THAT(message(dataset, first_indices(10), wrong), HasSubstr("batch must be 1 or more"));
  wrong = options;
  wrong.prefetch = 0;
  EXPECT_THAT(message(dataset, first_indices(10), wrong), HasSubstr("prefetch must be 1 or more"));
  wrong = options;
  wrong.rank = 2;
  wrong.world = 2;
  EXPECT_THAT(message(dataset, first_indices(10), wrong), HasSubstr("rank must be from 0 to 1"));
  wrong.rank = 0;
  wrong.world = 5;
  EXPECT_THAT(message(dataset, first_indices(10), wrong),
              HasSubstr("batch must have an image for each rank: got 4 images and 5 ranks"));
  wrong = options;
  wrong.preprocessing.width = 8;
  EXPECT_THAT(message(dataset, first_indices(10), wrong), HasSubstr("got 8x6, expected 8x8"));
}

}  // namespace
}  // namespace offramp::data
