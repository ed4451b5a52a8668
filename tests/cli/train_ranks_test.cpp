// Several processes of `offramp train` that a launcher's variables make one training.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "core/file.h"
#include "data/synthetic.h"
#include "tests/cli/program.h"
#include "tests/support/free_port.h"

namespace offramp::test {
namespace {

using ::testing::HasSubstr;

class TrainRanks : public testing::Test {
 protected:
  TrainRanks() {
    data::LoadedData train, test;
    train.dataset = data::synthetic_data(32, 32, 300, data::Part::train, 1, 4);
    test.dataset = data::synthetic_data(32, 32, 20, data::Part::test, 1, 4);
    train.source = test.source = "synthetic";
    train.sizes = test.sizes = {32, 32, 32, 32};
    data::write_packed(packed_, train, test);
    std::ofstream(recipe_) << "[network]\nwidth = 4\nunits = 2\nexits = []\n"
                              "[train]\nepochs = 1\nbatch = 60\nprecision = \"f32\"\n";
  }

  /// Runs rank 0 and rank 1.
  /// @param of_second    arguments that rank 1 alone gets
  /// @param second_data  the data of rank 1; empty: those of rank 0
  std::vector<ProgramResult> train(const std::vector<std::string>& of_second = {},
                                   const std::vector<std::string>& variables = {},
                                   const std::string& second_data = {}) {
    const int port = free_port();
    std::vector<ProgramResult> results(2);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; ++rank) {
      std::vector<std::string> arguments = {"train", recipe_,       "--data",    packed_,
                                            "--out", run_.string(), "--threads", "1"};
      if (rank == 1 && !second_data.empty()) arguments[3] = second_data;
      if (rank == 1) arguments.insert(arguments.end(), of_second.begin(), of_second.end());
      RunOptions options;
      options.environment = {"RANK=" + std::to_string(rank), "WORLD_SIZE=2",
                             "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + std::to_string(port)};
      options.environment.insert(options.environment.end(), variables.begin(), variables.end());
      threads.emplace_back([&results, rank, arguments, options] {
        results[static_cast<std::size_t>(rank)] = offramp(arguments, options);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return results;
  }

  core::TemporaryFolder folder_;
  const std::string packed_ = (folder_.path() / "images.offramp").string();
  const std::string recipe_ = (folder_.path() / "recipe.toml").string();
  const std::filesystem::path run_ = folder_.path() / "run";
};

TEST_F(TrainRanks, OnlyTheFirstPrintsAndWritesAndARestartContinues) {
  const auto first = train();
  EXPECT_EQ(first[0].status, 0) << first[0].err;
  EXPECT_THAT(first[0].err, HasSubstr("2 ranks share each batch of 60; batch norm over the images "
                                      "of all ranks"));
  EXPECT_THAT(first[0].err, HasSubstr("done: "));
  EXPECT_EQ(first[1].status, 0);
  EXPECT_EQ(first[1].err, "");
  EXPECT_TRUE(std::filesystem::exists(run_ / "model.safetensors"));
  const auto again = train();
  EXPECT_EQ(again[0].status, 2);
  EXPECT_THAT(again[0].err, HasSubstr("already holds a run"));
  EXPECT_EQ(again[1].status, 2);
  EXPECT_EQ(again[1].err, "");
  const auto restarted = train({}, {"TORCHELASTIC_RESTART_COUNT=1"});
  EXPECT_EQ(restarted[0].status, 0) << restarted[0].err;
  EXPECT_THAT(restarted[0].err, HasSubstr("this run is already finished"));
  EXPECT_EQ(restarted[1].status, 0) << restarted[1].err;
}

TEST_F(TrainRanks, DifferentRecipesAreRefusedByName) {
  const auto results = train({"--set", "train.lr=0.25"});
  EXPECT_EQ(results[0].status, 1);
  EXPECT_THAT(results[0].err,
              HasSubstr("rank 1 differs from rank 0: it has \"train.lr = 0.25\", rank 0 has"));
  EXPECT_TRUE(is_one_line(results[0].err)) << results[0].err;
  EXPECT_EQ(results[1].status, 1);
  EXPECT_EQ(results[1].err, "");
  EXPECT_FALSE(std::filesystem::exists(run_ / "config.toml"));
}

TEST_F(TrainRanks, AnErrorOfOneRankEndsAll) {
  const auto results = train({}, {}, (folder_.path() / "missing").string());
  EXPECT_EQ(results[0].status, 1);
  EXPECT_THAT(results[0].err, HasSubstr("rank 1: "));
  EXPECT_THAT(results[0].err, HasSubstr("no such file or folder"));
  EXPECT_EQ(results[1].status, 1);
}

TEST_F(TrainRanks, AWrongVariableIsNamed) {
  const ProgramResult result =
      offramp({"train", recipe_, "--data", packed_}, {.environment = {"RANK=2", "WORLD_SIZE=2"}});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, HasSubstr("the variable RANK must be a whole number from 0 to 1"));
}

}  // namespace
}  // namespace offramp::test
