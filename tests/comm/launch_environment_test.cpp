#include "comm/launch_environment.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/error.h"

namespace bertdist {
namespace {

LaunchEnvironment read(const std::map<std::string, std::string>& variables) {
  return read_launch_environment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::map<std::string, std::string> with(std::map<std::string, std::string> variables,
                                        const std::map<std::string, std::string>& others) {
  variables.insert(others.begin(), others.end());
  return variables;
}

// What the launchers really set, as far as it matters.
const std::map<std::string, std::string> kBatchScript = {
    {"SLURM_JOB_ID", "12"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}};
const std::map<std::string, std::string> kSrun = {{"SLURM_JOB_ID", "12"}, {"SLURM_NTASKS", "4"},
                                                  {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "4"},
                                                  {"SLURM_PROCID", "3"},  {"SLURM_LOCALID", "1"}};
const std::map<std::string, std::string> kMpirun = {{"OMPI_COMM_WORLD_SIZE", "2"},
                                                    {"OMPI_COMM_WORLD_RANK", "1"},
                                                    {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                                    {"PMIX_RANK", "1"}};

TEST(LaunchEnvironment, NobodyStartedIt) {
  const LaunchEnvironment launch = read({});
  EXPECT_TRUE(launch.launcher.empty());
  EXPECT_EQ(launch.world_size, 1);
  EXPECT_FALSE(launch.connects_mpi);
  EXPECT_FALSE(launch.slurm);
  EXPECT_EQ(describe(launch), "");
  EXPECT_NO_THROW(require_connected(launch));
  EXPECT_NO_THROW(require_world_size(launch, 1));
}

TEST(LaunchEnvironment, ABatchScriptIsNoStep) {
  const LaunchEnvironment launch = read(kBatchScript);
  EXPECT_TRUE(launch.launcher.empty());
  EXPECT_EQ(launch.world_size, 1);
  EXPECT_EQ(launch.slurm->num_tasks, 4);
  EXPECT_NO_THROW(require_connected(launch));
  EXPECT_EQ(describe(launch), "SLURM job 12");
}

TEST(LaunchEnvironment, SrunWithPmix) {
  const LaunchEnvironment launch = read(with(kSrun, {{"PMIX_RANK", "3"}}));
  EXPECT_EQ(describe(launch), "rank 3 of 4, local rank 1, as srun says; SLURM job 12");
  EXPECT_NO_THROW(require_connected(launch));
  EXPECT_NO_THROW(require_world_size(launch, 4));
  EXPECT_THROW(require_world_size(launch, 1), Error);
}

TEST(LaunchEnvironment, SrunWithoutPmixWouldStartRunsApart) {
  try {
    require_connected(read(kSrun));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    EXPECT_STREQ(error.what(), "srun started 4 processes, but MPI cannot connect them: each would run alone");
    EXPECT_NE(error.hint().find("srun --mpi=pmix"), std::string::npos);
  }
  EXPECT_NO_THROW(require_connected(read({{"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}})));
}

TEST(LaunchEnvironment, MpirunIsBelievedBeforeTheStepItRunsIn) {
  const LaunchEnvironment launch = read(with(kMpirun, kSrun));
  EXPECT_EQ(describe(launch), "rank 1 of 2, local rank 1, as mpirun says; SLURM job 12");
  EXPECT_NO_THROW(require_world_size(launch, 2));
}

TEST(LaunchEnvironment, AnotherMpisLauncher) {
  const LaunchEnvironment launch = read({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}});
  EXPECT_EQ(launch.rank, 1);
  EXPECT_TRUE(launch.connects_mpi);
  EXPECT_THROW(require_world_size(launch, 1), Error);
}

TEST(LaunchEnvironment, ArrayTaskAndRestarts) {
  const LaunchEnvironment launch = read(
      with(kBatchScript, {{"SLURM_ARRAY_JOB_ID", "11"}, {"SLURM_ARRAY_TASK_ID", "3"}, {"SLURM_RESTART_COUNT", "2"}}));
  EXPECT_EQ(launch.slurm->array_task, 3);
  EXPECT_EQ(launch.slurm->restart_count, 2);
  EXPECT_EQ(describe(launch), "SLURM job 11_3, array task 3, SLURM_RESTART_COUNT 2");
}

}  // namespace
}  // namespace bertdist
