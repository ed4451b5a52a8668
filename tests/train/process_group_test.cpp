#include "train/process_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/message_of.h"
#include "tests/support/rank_processes.h"

namespace offramp::train {
namespace {

using testing::HasSubstr;
using Channel = ProcessGroup::Channel;

TEST(ProcessGroup, SumsSharesAndGathers) {
  const auto results = test::run_ranks(3, [](ProcessGroup& group) {
    const torch::Tensor tensor = torch::full({5}, group.rank() + 1.0);
    group.sum(tensor, Channel::gradients);
    std::string text = group.is_first() ? "of rank 0" : "mine";
    group.share(text);
    std::string all;
    for (const std::string& one : group.gather(std::string(group.rank(), 'x'))) all += one + ".";
    return fmt::format("{} {} {}", tensor[4].item<double>(), text, all);
  });
  for (const auto& [status, text] : results) EXPECT_EQ(text, "6 of rank 0 .x.xx.");
}

TEST(ProcessGroup, AgreesOnTheErrorOfTheLowestRank) {
  const auto results = test::run_ranks(3, [](ProcessGroup& group) {
    group.agree([] {});
    group.agree([&] {
      if (group.rank() > 0) throw UsageError(fmt::format("wrong on {}", group.rank()));
    });
    return "no error";
  });
  for (const auto& [status, text] : results) {
    EXPECT_EQ(status, 1);
    EXPECT_EQ(text, "rank 1: wrong on 1");
  }
}

TEST(ProcessGroup, NamesARankThatWasKilled) {
  for (const int victim : {1, 2}) {
    const auto results = test::run_ranks(3, [&](ProcessGroup& group) {
      for (int step = 0;; ++step) {
        if (group.rank() == victim && step == 5) ::raise(SIGKILL);
        group.sum(torch::ones({1000}), Channel::gradients);
      }
      return "";
    });
    for (int rank = 0; rank < 3; ++rank) {
      const auto& [status, text] = results[static_cast<std::size_t>(rank)];
      EXPECT_EQ(status, rank == victim ? 128 + SIGKILL : 1);
      if (rank == victim) continue;
      EXPECT_THAT(text,
                  HasSubstr(fmt::format(
                      "rank {}: rank {} has ended or did not answer in time: ", rank, victim)));
    }
  }
}

TEST(ProcessGroup, EndsWhenRankZeroWasKilled) {
  const auto results = test::run_ranks(3, [](ProcessGroup& group) {
    for (int step = 0;; ++step) {
      if (group.rank() == 0 && step == 5) ::raise(SIGKILL);
      group.sum(torch::ones({1000}), Channel::gradients);
    }
    return "";
  });
  for (std::size_t rank = 1; rank < 3; ++rank) {
    EXPECT_EQ(results[rank].status, 1);
    EXPECT_THAT(results[rank].text,
                HasSubstr("rank 0 or the launcher has ended or does not answer"));
  }
}

TEST(ProcessGroup, NamesARankThatDoesNotAnswer) {
  const auto results = test::run_ranks(
      3,
      [](ProcessGroup& group) {
        for (int step = 0;; ++step) {
          if (group.rank() == 2 && step == 5) ::raise(SIGSTOP);
          group.sum(torch::ones({1000}), Channel::gradients);
        }
        return "";
      },
      std::chrono::seconds(2));
  for (std::size_t rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(results[rank].status, 1);
    EXPECT_THAT(results[rank].text, HasSubstr("rank 2 has ended or did not answer in time"));
  }
}

TEST(ProcessGroup, ReadsTheTimeout) {
  EXPECT_EQ(rank_timeout(nullptr).count(), 25);
  EXPECT_EQ(rank_timeout("90").count(), 90);
  EXPECT_THAT(test::message_of([] { rank_timeout("0"); }), HasSubstr("from 1 to 3600: got \"0\""));
}

}  // namespace
}  // namespace offramp::train
