#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <thread>

#include "base/error.h"
#include "commands.h"
#include "head_training.h"
#include "report/table.h"
#include "sweep/trial_table.h"
#include "sweep/work_queue.h"
#include "sweep_summary.h"
#include "torch_setup.h"
#include "trial_failure.h"
#include "trial_training.h"

namespace bertdist {

namespace {

std::string plural(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

int num_groups(const Communicator& world, const SweepSpec& spec) {
  if (world.world_size() % spec.ranks_per_trial == 0)
    return world.world_size() / static_cast<int>(spec.ranks_per_trial);
  throw Error(
      ExitCode::configuration,
      fmt::format("{} cannot be split into groups of {}", plural(world.world_size(), "rank"), spec.ranks_per_trial),
      "start a multiple of ranks_per_trial, or change it in the [sweep] table");
}

// What rank 0 finds in the sweep's folder decides for all.
struct Work {
  RunScope scope;
  std::vector<std::int64_t> to_run;  // those of scope.wanted that have no result
};

Work find_work(const SweepRequest& request, std::int64_t num_trials, const SweepFolder& folder) {
  folder.claim(*request.file);
  const SweepResults results = read_results(folder.path());
  // Failures do not keep a user from the trials that he names, and he may name failed ones.
  const bool named = !request.trials.empty();
  const std::string all = fmt::format("0-{}", num_trials - 1);
  Work work;
  work.scope.wanted = parse_trial_indices(named                         ? request.trials
                                          : request.task_trials.empty() ? all
                                                                        : request.task_trials,
                                          num_trials);
  if (named) work.scope.forgiven = results.failed();
  work.to_run = missing_trials(results, work.scope.wanted, /*failed_ones_too=*/named);
  return work;
}

Work share_work(const Job& job, const SweepRequest& request, std::int64_t num_trials, const SweepFolder& folder) {
  nlohmann::json shared;
  if (job.communicator.rank() == 0) {
    const Work work = find_work(request, num_trials, folder);
    const std::int64_t num_done = std::ssize(work.scope.wanted) - std::ssize(work.to_run);
    if (num_done > 0) job.log.info("{} of these have a result already", plural(num_done, "trial"));
    shared = {work.scope.wanted, work.scope.forgiven, work.to_run};
  }
  shared = nlohmann::json::parse(broadcast_text(job.communicator, shared.dump(), 0, "work of the sweep"));
  return {.scope = {.wanted = shared[0], .forgiven = shared[1]}, .to_run = shared[2]};
}

void announce(const Job& job, const SweepRequest& request, const SweepSpec& spec, std::int64_t num_trials,
              int num_groups) {
  job.log.info("{}, {} of {}; ranks_per_trial = {} trains each trial data-parallel", plural(num_trials, "trial"),
               plural(num_groups, "group"), plural(spec.ranks_per_trial, "rank"),
               spec.ranks_per_trial > 1 ? spec.ranks_per_trial : std::max(2, job.communicator.world_size()));
  if (const std::string launch = describe(job.launch); !launch.empty()) job.log.info("{}", launch);
  if (!request.task_trials.empty()) {
    const bool is_one = request.task_trials.find_first_of(",-") == std::string::npos;
    job.log.info("task {}: trial{} {}", *job.launch.slurm->array_task, is_one ? "" : "s", request.task_trials);
  }
}

// What a group takes from the queue at once: one trial, or heads that are trained together.
struct WorkItem {
  std::vector<const Trial*> trials;
  const HeadFamily* family = nullptr;  // null for a trial by itself
};

// The trials of one group of ranks.
class Group {
 public:
  Group(const Job& job, Communicator& ranks, const SweepSpec& spec, const SweepFolder& folder, std::int64_t num_trials,
        const ResultTimes& forgiven, const StopToken& stop)
      : job_(job),
        ranks_(ranks),
        spec_(spec),
        folder_(folder),
        num_trials_(num_trials),
        forgiven_(forgiven),
        stop_(stop) {
    if (ranks.rank() == 0) writer_.emplace(folder.path());
  }

  // Takes items as long as there are any. Returns whether this group is the one that was done last.
  bool run(const std::vector<WorkItem>& items, WorkQueue& queue, int group, int num_groups) {
    try {
      while (const std::optional<std::int64_t> taken = take(queue)) {
        const WorkItem& item = items[static_cast<std::size_t>(*taken)];
        if (item.family != nullptr) {
          run_heads(item);
        } else {
          run_trial(*item.trials.front());
        }
      }
    } catch (const Error& error) {
      if (error.code() == ExitCode::preempted) wait_for_others(queue, group, num_groups);
      throw;
    }
    return writer_ && queue.leave(group, num_groups);
  }

 private:
  std::optional<std::int64_t> take(WorkQueue& queue) {
    constexpr std::int64_t kNone = -1;
    constexpr std::int64_t kStop = -2;
    std::int64_t item = kNone;
    if (writer_ && stop_.signal()) {
      item = kStop;
    } else if (writer_ && !too_many_failures(spec_, read_results(folder_.path()), forgiven_)) {
      item = queue.next().value_or(kNone);
    }
    ranks_.broadcast(std::as_writable_bytes(std::span(&item, 1)), 0, "next trial");
    if (item == kStop) {
      fail({static_cast<int>(ExitCode::preempted),
            fmt::format("stopped by {} between two trials", stop_.signal().value_or("a signal to another rank"))});
    }
    return item == kNone ? std::nullopt : std::optional(item);
  }

  // The group that fails first ends them all: not before each has come to the end of its step and has saved.
  void wait_for_others(WorkQueue& queue, int group, int num_groups) {
    if (writer_) {
      queue.stop(group);
      while (!queue.all_have_ended(num_groups)) {
        ranks_.progress().advance();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }
    ranks_.barrier("the stop of the other groups");
  }

  // One head's failure of another kind than its numbers is not the others': each that is left is tried by itself.
  void run_heads(const WorkItem& item) {
    std::set<std::int64_t> recorded;
    const auto record_head = [&](const TrialResult& result) {
      record(result);
      recorded.insert(result.trial);
    };
    Failure failure;
    try {
      without_trace(
          job_, [&] { train_heads(job_, *item.family, item.trials, spec_, folder_, *writer_, record_head, stop_); });
    } catch (const std::exception& exception) {
      failure = failure_of(exception);
    }
    if (ends_the_sweep(failure)) fail(failure);
    for (const Trial* trial : item.trials) {
      if (failure.exit_code != 0 && !recorded.contains(trial->index)) run_trial(*trial);
    }
  }

  void run_trial(const Trial& trial) {
    // Of many trials at once only the warnings are for the terminal.
    const Log quiet(/*rank=*/1, /*world_size=*/1);
    const Job trial_job{trial.config, ranks_, job_.launch, quiet, job_.num_threads};
    TrialResult result;
    Failure failure;
    try {
      result = without_trace(trial_job, [&] {
        return train_trial(trial_job, trial, spec_, folder_, writer_ ? &*writer_ : nullptr, stop_);
      });
    } catch (const std::exception& exception) {
      failure = failure_of(exception);
    }
    failure = failure_of_group(ranks_, failure);
    if (ends_the_sweep(failure)) fail({failure.exit_code, fmt::format("trial {}: {}", trial.index, failure.message)});
    if (failure.exit_code != 0) result = failed_trial(trial, failure.exit_code, failure.message);
    if (!writer_) return;
    record(result);
    remove_trial_checkpoints(trial, folder_);
  }

  [[noreturn]] static void fail(const Failure& failure) {
    throw Error(static_cast<ExitCode>(failure.exit_code), failure.message,
                "what is recorded stays; the same command goes on with the trials that are missing");
  }

  void record(const TrialResult& result) {
    writer_->append(result);
    print_progress(spec_, result, read_results(folder_.path()), num_trials_);
    const auto now = std::chrono::steady_clock::now();
    if (now - leaderboard_written_ < std::chrono::seconds(10)) return;
    leaderboard_written_ = now;
    write_leaderboard(folder_.path(), spec_.metric);
  }

  const Job& job_;
  Communicator& ranks_;
  const SweepSpec& spec_;
  const SweepFolder& folder_;
  const std::int64_t num_trials_;
  const ResultTimes& forgiven_;
  const StopToken& stop_;
  std::optional<ResultWriter> writer_;
  std::chrono::steady_clock::time_point leaderboard_written_ = std::chrono::steady_clock::now();
};

// Families' batches, and then the trials that belong to none.
std::vector<WorkItem> divide(const Job& job, const std::vector<const Trial*>& trials,
                             const std::vector<std::unique_ptr<HeadFamily>>& families) {
  std::vector<WorkItem> items;
  std::set<const Trial*> in_families;
  for (const auto& family : families) {
    in_families.insert(family->trials.begin(), family->trials.end());
    for (auto& batch : head_batches(*family, job.communicator)) items.push_back({std::move(batch), family.get()});
  }
  for (const Trial* trial : trials) {
    if (!in_families.contains(trial)) items.push_back({{trial}, nullptr});
  }
  return items;
}

}  // namespace

void run_sweep(const Job& job, const SweepRequest& request, const std::vector<Trial>& trials) {
  const StopToken stop;
  use_threads(job);
  const SweepSpec& spec = request.file->spec();
  const SweepFolder folder(request.file->output_dir());
  const int groups = num_groups(job.communicator, spec);
  announce(job, request, spec, std::ssize(trials), groups);

  const Work work = share_work(job, request, std::ssize(trials), folder);
  if (!work.to_run.empty()) {
    std::vector<const Trial*> to_run;
    for (const std::int64_t index : work.to_run) to_run.push_back(&trials[static_cast<std::size_t>(index)]);
    std::vector<std::unique_ptr<HeadFamily>> families;
    if (spec.ranks_per_trial == 1) families = prepare_head_families(job, to_run);
    for (const auto& family : families) {
      job.log.info("{} on the same frozen features train their heads together",
                   plural(std::ssize(family->trials), "trial"));
    }
    const std::vector<WorkItem> items = divide(job, to_run, families);
    const int group = job.communicator.rank() / static_cast<int>(spec.ranks_per_trial);
    const std::unique_ptr<Communicator> ranks = job.communicator.split(group, "groups of the sweep");
    std::optional<QueueFolder> queue_folder;
    if (job.communicator.rank() == 0) queue_folder.emplace(folder.path());
    const std::string queue_path = queue_folder ? queue_folder->path().string() : "";
    WorkQueue queue(broadcast_text(job.communicator, queue_path, 0, "queue of trials"), std::ssize(items));
    // From here on nobody waits for anybody, unless a signal stops them: the group that is done last speaks for all.
    Group worker(job, *ranks, spec, folder, std::ssize(trials), work.scope.forgiven, stop);
    if (!worker.run(items, queue, group, groups)) return;
  } else if (job.communicator.rank() != 0) {
    return;
  }
  print_summary(spec, folder, std::ssize(trials), work.scope);
}

}  // namespace bertdist
