#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/stop_token.h"
#include "job.h"
#include "model/bert.h"
#include "sweep/results.h"
#include "sweep/sweep_folder.h"
#include "train/trainer.h"

namespace bertdist {

// Collective over job.communicator, the ranks that train this trial together; job.config is the trial's. Trains and
// evaluates the trial as `bertdist train` would, reports its evaluations, keeps its model as the sweep says, and
// returns its result without recording it. `writer` is null but on rank 0. A trial that fails throws; one that a signal
// stops throws Error(preempted), and goes on from its checkpoint when it is trained again.
TrialResult train_trial(const Job& job, const Trial& trial, const SweepSpec& spec, const SweepFolder& folder,
                        ResultWriter* writer, const StopToken& stop);

// For rank 0, once the trial's result is recorded: what train_trial left to go on from.
void remove_trial_checkpoints(const Trial& trial, const SweepFolder& folder);

// Its parts, which are the same however a trial is trained. For one rank of a trial.

// Makes the trial's folder with its configuration, and returns it.
std::filesystem::path prepare_trial_folder(const Trial& trial, const std::filesystem::path& sweep_folder);
// Whether the sweep ends this trial after the evaluation that was reported last.
bool ends_early(const SweepSpec& spec, const SweepFolder& folder, std::int64_t trial);
nlohmann::ordered_json trial_details(const Trial& trial, const TrainResult& train, const Evaluation& evaluation,
                                     int world_size);
TrialResult failed_trial(const Trial& trial, int exit_code, const std::string& error);
// Lends a model to whoever uses it.
using WithModel = std::function<void(const std::function<void(const BertForSequenceClassification&)>& use)>;
// Saves the trial's model where the sweep keeps it; asks for it only then.
void keep_model(const Trial& trial, const TrialResult& result, const SweepSpec& spec, const SweepFolder& folder,
                const std::filesystem::path& tokenizer_folder, const TrainerState& state, const WithModel& with_model);

}  // namespace bertdist
