#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "core/error.h"
#include "core/random.h"
#include "data/dataset.h"
#include "tests/support/message_of.h"

namespace offramp::data {
namespace {

using ::testing::HasSubstr;

/// Makes classes of the given sizes. The split depends on labels and hashes only.
Dataset dataset_of(const std::vector<int>& class_sizes) {
  Dataset dataset;
  for (std::size_t label = 0; label < class_sizes.size(); ++label) {
    dataset.classes.push_back(fmt::format("class {}", label));
    for (int i = 0; i < class_sizes[label]; ++i) {
      dataset.labels.push_back(static_cast<std::int64_t>(label));
      dataset.hashes.push_back(core::splitmix64(label * 1'000'000 + static_cast<std::uint64_t>(i)));
    }
  }
  return dataset;
}

std::set<std::uint64_t> hashes_of(const Dataset& dataset, const std::vector<std::int64_t>& part) {
  std::set<std::uint64_t> hashes;
  for (const std::int64_t i : part) hashes.insert(dataset.hashes[static_cast<std::size_t>(i)]);
  return hashes;
}

std::vector<std::int64_t> counts(const Dataset& dataset, const std::vector<std::int64_t>& part) {
  std::vector<std::int64_t> result(dataset.classes.size());
  for (const std::int64_t i : part) {
    ++result[static_cast<std::size_t>(dataset.labels[static_cast<std::size_t>(i)])];
  }
  return result;
}

TEST(Split, SetsAsideFourAndEightPercentOfEachClass) {
  const Dataset dataset = dataset_of({1000, 25, 130});
  const Splits splits = split_training(dataset, 7);
  EXPECT_EQ(counts(dataset, splits.tune), (std::vector<std::int64_t>{40, 1, 5}));
  EXPECT_EQ(counts(dataset, splits.certify), (std::vector<std::int64_t>{80, 2, 10}));
  EXPECT_EQ(counts(dataset, splits.train), (std::vector<std::int64_t>{880, 22, 115}));
}

TEST(Split, PutsEachImageIntoExactlyOnePart) {
  const Dataset dataset = dataset_of({300, 200});
  const Splits splits = split_training(dataset, 7);
  std::vector<std::int64_t> all;
  for (const auto* part : {&splits.train, &splits.tune, &splits.certify}) {
    EXPECT_TRUE(std::is_sorted(part->begin(), part->end()));
    all.insert(all.end(), part->begin(), part->end());
  }
  std::sort(all.begin(), all.end());
  std::vector<std::int64_t> expected(500);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

TEST(Split, DependsOnTheSeedAndNotOnTheOrderOfImages) {
  const Dataset dataset = dataset_of({300, 200});
  Dataset reversed = dataset;
  std::reverse(reversed.labels.begin(), reversed.labels.end());
  std::reverse(reversed.hashes.begin(), reversed.hashes.end());
  const Splits a = split_training(dataset, 7);
  const Splits b = split_training(reversed, 7);
  EXPECT_EQ(hashes_of(dataset, a.tune), hashes_of(reversed, b.tune));
  EXPECT_EQ(hashes_of(dataset, a.certify), hashes_of(reversed, b.certify));
  EXPECT_NE(hashes_of(dataset, a.tune), hashes_of(dataset, split_training(dataset, 8).tune));
}

TEST(Split, KeepsCopiesOfAnImageTogetherAcrossClassesToo) {
  Dataset dataset = dataset_of({400, 400});
  for (std::size_t i = 0; i < 400; i += 2) {
    dataset.hashes[i + 1] = dataset.hashes[i];                    // pairs within class 0
    if (i % 4 == 0) dataset.hashes[400 + i] = dataset.hashes[i];  // and copies in class 1
  }
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    const Splits splits = split_training(dataset, seed);
    const auto train = hashes_of(dataset, splits.train);
    const auto tune = hashes_of(dataset, splits.tune);
    for (const std::uint64_t hash : tune) EXPECT_FALSE(train.contains(hash));
    for (const std::uint64_t hash : hashes_of(dataset, splits.certify)) {
      EXPECT_FALSE(train.contains(hash) || tune.contains(hash));
    }
    EXPECT_NEAR(static_cast<double>(splits.tune.size()), 32, 4);
    EXPECT_NEAR(static_cast<double>(splits.certify.size()), 64, 6);
  }
}

TEST(Split, GivesNoPartAllOfAClassThatIsMostlyOneImage) {
  Dataset dataset = dataset_of({100, 100});
  std::fill(dataset.hashes.begin(), dataset.hashes.begin() + 60, dataset.hashes[0]);
  const Splits splits = split_training(dataset, 1);
  EXPECT_EQ(counts(dataset, splits.tune)[0], 4);
  EXPECT_EQ(counts(dataset, splits.certify)[0], 8);
}

std::string failure(const Dataset& dataset) {
  return test::message_of([&] { split_training(dataset, 1); });
}

TEST(Split, RefusesAClassThatIsTooSmall) {
  EXPECT_EQ(failure(dataset_of({100, 24})),
            "class \"class 1\" has 24 training images, at least 25 are needed");
  EXPECT_EQ(failure(dataset_of({100, 25})), "no error");
  Dataset same = dataset_of({30, 30});
  std::fill(same.hashes.begin(), same.hashes.begin() + 30, 5);
  EXPECT_THAT(failure(same), HasSubstr("too few different training images to split: 1 among 30"));
}

TEST(ImageHash, IsTheStartOfSha256OfSizeAndPixels) {
  // python3: hashlib.sha256(struct.pack("<II", 2, 1) + bytes([1, 2, 3, 4, 5, 6])).hexdigest()[:16]
  const std::vector<std::uint8_t> rgb = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(image_hash(2, 1, rgb), 0xf25af82c68d29a6cu);
  EXPECT_EQ(image_hash(1, 2, rgb), 0x4cb90cb51e667020u);
}

}  // namespace
}  // namespace offramp::data
