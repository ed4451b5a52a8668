#include "train/start_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/rank_processes.h"

namespace offramp::train {
namespace {

using testing::HasSubstr;

data::Dataset two_images(std::uint64_t last_hash) {
  data::Dataset data;
  data.height = data.width = 32;
  data.classes = {"a", "b"};
  data.labels = {0, 1};
  data.hashes = {1, last_hash};
  return data;
}

/// Returns the messages of two ranks that compare their descriptions.
std::string difference(const recipe::Recipe& first, const recipe::Recipe& second,
                       std::uint64_t hash = 2) {
  const auto results = test::run_ranks(2, [&](ProcessGroup& group) {
    check_same_start(group, group.is_first() ? describe_start(first, two_images(2))
                                             : describe_start(second, two_images(hash)));
    return "equal";
  });
  EXPECT_EQ(results[0].text, results[1].text);
  return results[0].text;
}

TEST(StartCheck, NamesTheFirstDifference) {
  const recipe::Recipe recipe;
  recipe::Recipe other = recipe;
  other.train.lr = 0.25;
  EXPECT_THAT(difference(recipe, other), HasSubstr("rank 1 differs from rank 0: it has "
                                                   "\"train.lr = 0.25\", rank 0 has"));
  EXPECT_THAT(difference(recipe, recipe, 3),
              HasSubstr("it has \"data: 2 images of 2 classes, 32x32, hash "));
}

TEST(StartCheck, IgnoresHowAMachineIsUsed) {
  const recipe::Recipe recipe;
  recipe::Recipe other = recipe;
  other.train.threads = 3;
  other.data.source = "elsewhere";
  EXPECT_EQ(difference(recipe, other), "equal");
}

}  // namespace
}  // namespace offramp::train
