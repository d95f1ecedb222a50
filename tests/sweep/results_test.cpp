// What is recorded survives writers that are killed or come together, and the queue gives each item to one taker.

#include "sweep/results.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "sweep/sweep_folder.h"
#include "sweep/work_queue.h"

namespace bertdist {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using State = TrialResult::State;

class ResultsTest : public testing::Test {
 protected:
  ResultsTest() {
    std::string pattern = (fs::temp_directory_path() / "bertdist_sweep_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~ResultsTest() override { fs::remove_all(folder_); }

  static TrialResult result(std::int64_t trial, State state, std::optional<double> metric = {}) {
    return {.trial = trial, .state = state, .metric = metric, .details = {{"parameters", {{"seed", trial}}}}};
  }
  // Runs `work` in `count` processes at once.
  template <typename Work>
  static void in_processes(int count, Work work) {
    for (int process = 0; process < count; ++process) {
      if (fork() != 0) continue;
      work(process);
      _exit(0);
    }
    for (int status = 0; wait(&status) > 0;) EXPECT_EQ(status, 0);
  }

  fs::path folder_;
  SweepSpec::Metric maximize_{.name = "accuracy", .maximize = true};
};

TEST_F(ResultsTest, LeaderboardIsByMetricThenNumberAndLeavesFailuresOut) {
  ResultWriter writer(folder_);
  writer.append(result(3, State::finished, 0.5));
  writer.append(result(1, State::stopped, 0.5));
  writer.append(result(2, State::failed));
  writer.append(result(0, State::finished));
  writer.append(result(4, State::finished, 0.9));
  const SweepResults results = read_results(folder_);
  std::vector<std::int64_t> order;
  for (const TrialResult& place : results.leaderboard(maximize_)) order.push_back(place.trial);
  EXPECT_THAT(order, ElementsAre(4, 1, 3, 0));
  EXPECT_EQ(results.num_failed(), 1);
  EXPECT_EQ(result_rows(results, maximize_).back()["trial"], 2);
}

TEST_F(ResultsTest, WhatFinishedCountsMoreThanAFailureBeforeOrAfter) {
  ResultWriter writer(folder_);
  writer.append(result(0, State::failed));
  writer.append(result(0, State::finished, 0.5));
  writer.append(result(0, State::failed));
  EXPECT_EQ(read_results(folder_).trials.at(0).state, State::finished);
}

TEST_F(ResultsTest, AForgivenFailureCountsOnceItHappensAgain) {
  ResultWriter writer(folder_);
  writer.append(result(0, State::failed));
  writer.append(result(1, State::failed));
  const ResultTimes forgiven = read_results(folder_).failed();
  EXPECT_EQ(forgiven.size(), 2u);
  EXPECT_EQ(read_results(folder_).num_failed(), 2);
  EXPECT_EQ(read_results(folder_).num_failed(forgiven), 0);
  writer.append(result(1, State::failed));
  EXPECT_EQ(read_results(folder_).num_failed(forgiven), 1);
  writer.append(result(0, State::finished, 0.5));
  EXPECT_EQ(read_results(folder_).num_failed(forgiven), 1);
}

TEST_F(ResultsTest, ATornLineIsCountedAndTheOthersStay) {
  {
    ResultWriter writer(folder_);
    writer.append(result(0, State::finished, 0.5));
    writer.append_evaluation(1, 1, 0.25);
    writer.append(result(1, State::finished, 0.5));
  }
  const fs::path file = fs::directory_iterator(folder_)->path();
  std::ifstream stream(file);
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  const std::size_t last_line = text.rfind('\n', text.size() - 2) + 1;
  for (std::size_t size = text.size() - 2; size > last_line; size -= std::min<std::size_t>(7, size - last_line)) {
    fs::resize_file(file, size);
    const SweepResults results = read_results(folder_);
    EXPECT_TRUE(results.trials.contains(0));
    EXPECT_FALSE(results.trials.contains(1));
    EXPECT_EQ(results.num_damaged_lines, 1);
  }
}

TEST_F(ResultsTest, WritersAtTheSameTimeLoseNothing) {
  in_processes(8, [&](int process) {
    ResultWriter writer(folder_);
    for (int i = 0; i < 25; ++i) {
      writer.append(result(25 * process + i, State::finished, 0.001 * (25 * process + i)));
      if (i % 5 == 0) write_leaderboard(folder_, maximize_);
    }
    write_leaderboard(folder_, maximize_);
  });
  EXPECT_EQ(read_results(folder_).trials.size(), 200u);
  std::ifstream leaderboard(folder_ / "leaderboard.csv");
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(leaderboard), {}, '\n'), 201);
}

TEST_F(ResultsTest, CurvesAreByEvaluationAndBeginAgainWithTheTrial) {
  ResultWriter writer(folder_);
  writer.append_evaluation(5, 1, 0.1);
  writer.append_evaluation(5, 2, {});
  EXPECT_THAT(read_results(folder_).curves.at(5), ElementsAre(std::optional(0.1), std::nullopt));
  writer.append_evaluation(5, 1, 0.3);
  EXPECT_THAT(read_results(folder_).curves.at(5), ElementsAre(std::optional(0.3)));
}

TEST_F(ResultsTest, CurvesAreByTimeWhateverTheFilesAreCalled) {
  const auto line = [](int trial, int evaluation, double metric, int second) {
    return nlohmann::json{{"trial", trial},
                          {"event", "evaluation"},
                          {"evaluation", evaluation},
                          {"metric", metric},
                          {"time", "2026-01-01T00:00:0" + std::to_string(second) + ".000000Z"}}
               .dump() +
           "\n";
  };
  // Trial 0 is stopped after its second evaluation and goes on from there elsewhere; trial 1 begins again.
  const std::string later = line(0, 3, 0.3, 5) + line(1, 1, 0.6, 6) + line(1, 2, 0.7, 8);
  const std::string earlier = line(0, 1, 0.1, 1) + line(1, 1, 0.9, 2) + line(0, 2, 0.2, 3) + line(1, 2, 0.8, 4);
  std::ofstream(folder_ / "trials-a-1.jsonl") << later;
  std::ofstream(folder_ / "trials-b-1.jsonl") << earlier;
  const Curves curves = read_results(folder_).curves;
  EXPECT_THAT(curves.at(0), ElementsAre(0.1, 0.2, 0.3));
  EXPECT_THAT(curves.at(1), ElementsAre(0.6, 0.7));

  std::ofstream(folder_ / "all.jsonl") << later << earlier;
  using Evaluation = std::pair<std::int64_t, std::optional<double>>;
  EXPECT_THAT(
      read_evaluations(folder_ / "all.jsonl"),
      ElementsAre(Evaluation(0, 0.1), Evaluation(0, 0.2), Evaluation(0, 0.3), Evaluation(1, 0.6), Evaluation(1, 0.7)));
}

TEST_F(ResultsTest, EachItemOfAQueueIsTakenOnceAndOneTakerIsTheLast) {
  const QueueFolder made(folder_);
  const fs::path& queue_folder = made.path();
  in_processes(6, [&](int process) {
    WorkQueue queue(queue_folder, 50);
    std::ofstream taken(folder_ / ("taken-" + std::to_string(process)));
    while (const auto item = queue.next()) taken << *item << "\n";
    taken.close();
    if (queue.leave(process, 6)) std::ofstream(folder_ / "last", std::ios::app) << process << "\n";
  });
  std::multiset<int> items;
  for (int process = 0; process < 6; ++process) {
    std::ifstream taken(folder_ / ("taken-" + std::to_string(process)));
    items.insert(std::istream_iterator<int>(taken), {});
  }
  EXPECT_EQ(items.size(), 50u);
  EXPECT_EQ(std::set<int>(items.begin(), items.end()).size(), 50u);
  std::ifstream last(folder_ / "last");
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(last), {}, '\n'), 1);
  EXPECT_FALSE(fs::exists(queue_folder));
}

TEST_F(ResultsTest, AQueueThatAKilledProcessLeftGoesWithTheNext) {
  in_processes(1, [&](int) {
    const auto* const kept = new QueueFolder(folder_);
    static_cast<void>(kept);
  });
  const auto num_queues = [&] { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); };
  EXPECT_EQ(num_queues(), 1);
  fs::create_directories(folder_ / ".queue-abcdef.ended" / "item-0");
  const QueueFolder first(folder_);
  EXPECT_EQ(num_queues(), 1);
  const QueueFolder second(folder_);
  EXPECT_EQ(num_queues(), 2) << "the first is in use";
  EXPECT_TRUE(fs::exists(first.path()));
}

TEST_F(ResultsTest, WhereOneTakerStopsNobodyTakesAnyMoreAndTheFolderGoesWithTheLast) {
  const QueueFolder made(folder_);
  const fs::path& queue_folder = made.path();
  WorkQueue first(queue_folder, 5), second(queue_folder, 5), third(queue_folder, 5);
  EXPECT_EQ(first.next(), 0);
  EXPECT_EQ(second.next(), 1);
  first.stop(0);
  EXPECT_FALSE(first.all_have_ended(3));
  EXPECT_EQ(third.next(), std::nullopt);
  EXPECT_FALSE(third.leave(2, 3));
  EXPECT_FALSE(first.all_have_ended(3)) << "the second is still at work";
  second.stop(1);
  EXPECT_TRUE(second.all_have_ended(3));
  EXPECT_TRUE(first.all_have_ended(3));
  EXPECT_FALSE(fs::exists(queue_folder));
}

// The first that returns ends the job, whatever the others are doing.
TEST_F(ResultsTest, WhereAllStopAtOnceNoneReturnsBeforeTheFolderIsGone) {
  for (int round = 0; round < 10; ++round) {
    const fs::path queue_folder = folder_ / "queue";
    fs::create_directories(queue_folder);
    in_processes(4, [&](int process) {
      WorkQueue queue(queue_folder, 200);
      while (queue.next()) continue;
      queue.stop(process);
      while (!queue.all_have_ended(4)) continue;
      if (!fs::is_empty(folder_)) std::ofstream(folder_ / "too-early");
    });
    ASSERT_TRUE(fs::is_empty(folder_)) << "round " << round;
  }
}

TEST_F(ResultsTest, TheBestIsTheSameInAnyOrder) {
  const SweepFolder folder(folder_);
  in_processes(6, [&](int process) {
    const std::int64_t trial = 5 - process;
    folder.offer_best(maximize_, result(trial, State::finished, trial >= 2 ? 0.5 : 0.4),
                      [&](const fs::path& target) { std::ofstream(target / "model") << trial; });
  });
  std::ifstream model(folder_ / "best" / "model");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(model), {}), "2");
}

TEST_F(ResultsTest, MissingTrials) {
  ResultWriter writer(folder_);
  writer.append(result(1, State::finished, 0.5));
  writer.append(result(2, State::failed));
  EXPECT_THAT(missing_trials(read_results(folder_), {0, 1, 2, 3}, false), ElementsAre(0, 3));
  EXPECT_THAT(missing_trials(read_results(folder_), {1, 2, 3}, true), ElementsAre(2, 3));
}

}  // namespace
}  // namespace bertdist
