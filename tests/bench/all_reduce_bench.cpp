// Seconds of Communicator::all_reduce over the ranks of this job, for sums of growing size. Rank 0 prints JSON:
// [[bytes, median seconds], ...].
// Usage: tests/mpirun -np N all_reduce_bench
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "comm/communicator.h"

namespace {

using namespace bertdist;

double seconds_of(Communicator& communicator, std::span<float> values) {
  communicator.barrier("all ranks are ready");
  const auto start = std::chrono::steady_clock::now();
  communicator.all_reduce(buffer_of(values), ReduceOp::sum, "values");
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median_seconds(Communicator& communicator, std::span<float> values) {
  // As many times as take about a second, the same number on all ranks.
  const auto times =
      static_cast<std::size_t>(std::clamp(20'000'000.0 / static_cast<double>(values.size()), 11.0, 1001.0));
  std::vector<double> seconds(times);
  for (double& second : seconds) second = seconds_of(communicator, values);
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

int main() {
  const MpiSession session;
  const std::unique_ptr<Communicator> communicator = session.world({});
  std::vector<float> values(23'000'000);
  std::string rows;
  for (std::size_t count = 2; count <= values.size(); count = count < 16'777'216 ? count * 8 : values.size() + 1) {
    const double seconds = median_seconds(*communicator, std::span(values).first(count));
    rows += fmt::format("{}[{}, {:.9f}]", rows.empty() ? "" : ", ", count * sizeof(float), seconds);
  }
  if (communicator->rank() == 0) fmt::print("[{}]\n", rows);
  communicator->leave();
  return 0;
}
