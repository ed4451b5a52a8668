#include "train/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "tests/support/message_of.h"

namespace offramp::train {
namespace {

using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

std::optional<Ranks> ranks_of(const Variables& variables) {
  return ranks_from_environment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string message(const Variables& variables) {
  return test::message_of([&] { ranks_of(variables); });
}

TEST(Ranks, AreNoneWithoutALauncherOrWithOneProcess) {
  EXPECT_FALSE(ranks_of({}));
  EXPECT_FALSE(ranks_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}}));
  // The batch script of a SLURM job is one process, although the job has 4 tasks.
  EXPECT_FALSE(ranks_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}));
}

TEST(Ranks, AreReadFromTorchrun) {
  const auto ranks = ranks_of({{"RANK", "3"},
                               {"WORLD_SIZE", "8"},
                               {"LOCAL_WORLD_SIZE", "4"},
                               {"MASTER_ADDR", "node01"},
                               {"MASTER_PORT", "1234"},
                               {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                               {"TORCHELASTIC_RESTART_COUNT", "2"}});
  ASSERT_TRUE(ranks);
  EXPECT_EQ(ranks->rank, 3);
  EXPECT_EQ(ranks->world, 8);
  EXPECT_EQ(ranks->local_world, 4);
  EXPECT_EQ(ranks->address, "node01");
  EXPECT_EQ(ranks->port, 1234);
  EXPECT_TRUE(ranks->agent_serves);
  EXPECT_EQ(ranks->restart, 2);
}

TEST(Ranks, AreReadFromMpiAndSlurm) {
  const auto mpi = ranks_of({{"OMPI_COMM_WORLD_RANK", "1"},
                             {"OMPI_COMM_WORLD_SIZE", "2"},
                             {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  ASSERT_TRUE(mpi);
  EXPECT_EQ(mpi->rank, 1);
  EXPECT_EQ(mpi->address, "127.0.0.1") << "all ranks are on this machine";
  const auto pmi = ranks_of({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MASTER_ADDR", "a"}});
  ASSERT_TRUE(pmi);
  EXPECT_EQ(pmi->launcher, "PMI");
  const auto slurm = ranks_of({{"SLURM_PROCID", "5"},
                               {"SLURM_STEP_NUM_TASKS", "8"},
                               {"SLURM_TASKS_PER_NODE", "4(x2)"},
                               {"SLURM_STEP_NODELIST", "node[03-04]"},
                               {"SLURM_JOB_ID", "123456"}});
  ASSERT_TRUE(slurm);
  EXPECT_EQ(slurm->rank, 5);
  EXPECT_EQ(slurm->local_world, 4);
  EXPECT_EQ(slurm->address, "node03");
  EXPECT_EQ(slurm->port, 23456);
}

TEST(Ranks, TakeTheFirstLauncherThatIsSet) {
  const auto ranks = ranks_of({{"RANK", "1"},
                               {"WORLD_SIZE", "2"},
                               {"MASTER_ADDR", "a"},
                               {"SLURM_PROCID", "0"},
                               {"SLURM_STEP_NUM_TASKS", "9"}});
  ASSERT_TRUE(ranks);
  EXPECT_EQ(ranks->world, 2);
}

TEST(Ranks, SayWhichVariableIsWrongOrMissing) {
  EXPECT_THAT(message({{"RANK", "x"}, {"WORLD_SIZE", "2"}}),
              HasSubstr("the variable RANK must be a whole number from 0 to 1: got \"x\""));
  EXPECT_THAT(message({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), HasSubstr("from 0 to 1: got \"2\""));
  EXPECT_THAT(message({{"RANK", "0"}, {"WORLD_SIZE", "2"}}), HasSubstr("MASTER_ADDR"));
  EXPECT_THAT(
      message({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "70000"}}),
      HasSubstr("MASTER_PORT must be a whole number from 1 to 65535"));
}

TEST(Ranks, FindTheFirstHostOfASlurmList) {
  EXPECT_EQ(first_slurm_host("login"), "login");
  EXPECT_EQ(first_slurm_host("login,node[1-2]"), "login");
  EXPECT_EQ(first_slurm_host("node[03-07,9],login"), "node03");
  EXPECT_EQ(first_slurm_host("node[7]"), "node7");
  EXPECT_EQ(first_slurm_host("node[7,9]"), "node7");
}

}  // namespace
}  // namespace offramp::train
