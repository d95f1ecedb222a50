#include "report/progress_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace bertdist {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

constexpr std::string_view kErase = "\r\x1b[K";

// A sink that keeps what is written, with a clock that the test turns.
struct Recorder {
  std::vector<std::string> written;
  std::chrono::steady_clock::time_point now{};

  ProgressSink sink(bool is_terminal, std::size_t columns = 100) {
    return {is_terminal, columns, [this](std::string_view text) { written.emplace_back(text); },
            [this] { return now; }};
  }
};

TrainingProgress at_step(std::int64_t step, std::int64_t num_steps = 100) {
  return {1, 2, step, num_steps, 0.25, step * 1000};
}

TEST(ProgressLine, TellsSpeedAndTimeLeft) {
  Recorder recorder;
  ProgressLine line(0, recorder.sink(true));
  recorder.now += 2s;
  line.update({3, 10, 400, 2400, 0.35212, 24690});
  EXPECT_THAT(recorder.written,
              ElementsAre(std::string(kErase) + "epoch 3/10  step 400/2400  loss 0.3521  12,345 tokens/s  ETA 0:10"));
}

TEST(ProgressLine, AResumedRunCountsItsOwnStepsOnly) {
  Recorder recorder;
  ProgressLine line(50, recorder.sink(true));
  recorder.now += 10s;
  line.update({2, 2, 60, 100, 0.5, 1000});
  EXPECT_THAT(recorder.written, ElementsAre(testing::EndsWith("100 tokens/s  ETA 0:40")));
}

TEST(ProgressLine, OnATerminalIsRewrittenAtMostTenTimesASecond) {
  Recorder recorder;
  ProgressLine line(0, recorder.sink(true));
  for (int step = 1; step < 100; ++step) {
    recorder.now += 10ms;
    line.update(at_step(step));
  }
  EXPECT_EQ(recorder.written.size(), 10u);
  line.update(at_step(100));
  EXPECT_THAT(recorder.written.back(), testing::HasSubstr("step 100/100"));
}

TEST(ProgressLine, ClearTakesItAwayUntilTheNextUpdate) {
  Recorder recorder;
  ProgressLine line(0, recorder.sink(true));
  line.clear();
  EXPECT_TRUE(recorder.written.empty());
  line.update(at_step(1));
  line.clear();
  line.update(at_step(2));
  ASSERT_EQ(recorder.written.size(), 3u);
  EXPECT_EQ(recorder.written[1], kErase);
  EXPECT_THAT(recorder.written[2], testing::HasSubstr("step 2/100"));
}

TEST(ProgressLine, ElsewhereALineEveryTenthButNotCloserThanFiveSeconds) {
  Recorder recorder;
  ProgressLine line(0, recorder.sink(false));
  for (int step = 1; step <= 100; ++step) {
    recorder.now += 1s;
    line.update(at_step(step));
    line.clear();
  }
  EXPECT_EQ(recorder.written.size(), 10u);
  EXPECT_EQ(recorder.written.front(), "epoch 1/2  step 10/100  loss 0.2500  1,000 tokens/s  ETA 1:30\n");
}

TEST(ProgressLine, ElsewhereAShortRunStaysQuiet) {
  Recorder recorder;
  ProgressLine line(0, recorder.sink(false));
  for (int step = 1; step <= 100; ++step) {
    recorder.now += 40ms;
    line.update(at_step(step));
  }
  EXPECT_TRUE(recorder.written.empty());
}

TEST(ProgressLine, ElsewhereALongRunShowsALineAMinute) {
  Recorder recorder;
  ProgressLine line(0, recorder.sink(false));
  for (int step = 1; step <= 180; ++step) {
    recorder.now += 1s;
    line.update(at_step(step, 1000000));
  }
  EXPECT_EQ(recorder.written.size(), 3u);
}

TEST(FormatDuration, HoursOnlyWhereThereAreSome) {
  EXPECT_EQ(format_duration(0s), "0:00");
  EXPECT_EQ(format_duration(42s), "0:42");
  EXPECT_EQ(format_duration(3599s), "59:59");
  EXPECT_EQ(format_duration(3723s), "1:02:03");
}

}  // namespace
}  // namespace bertdist
