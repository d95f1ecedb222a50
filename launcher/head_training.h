#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/stop_token.h"
#include "job.h"
#include "model/bert.h"
#include "model_source.h"
#include "splits.h"
#include "sweep/results.h"
#include "sweep/sweep_folder.h"
#include "train/forward.h"

namespace bertdist {

// Trials that differ only in how their heads are trained, and what they share: the features of the frozen layers.
struct HeadFamily {
  std::vector<const Trial*> trials;
  ModelSource source;
  std::vector<std::string> label_names;
  Splits splits;
  BertForSequenceClassification model;  // what the training of the first trial starts from
  std::optional<Forward> train, validation;
};

// Collective over all ranks. The families of two trials or more among these whose frozen layers leave pooler and
// classifier to be trained; each family's features are computed by all ranks together and held by each. Trials whose
// common part cannot be prepared are in none: each of them is to fail, or not, by itself. Throws what ends the sweep.
std::vector<std::unique_ptr<HeadFamily>> prepare_head_families(const Job& job, const std::vector<const Trial*>& trials);

// A family's trials in batches to be trained together: equal in their global batch size, alike in length, as many as
// the processor's cache holds.
std::vector<std::vector<const Trial*>> head_batches(const HeadFamily& family, const Communicator& communicator);

// Not collective. Trains these trials of the family together, keeps models as the sweep says, reports evaluations to
// `writer` and hands each result to `record` when it is there. Throws Error(preempted) where a signal stops it; after
// any other error the trials that were not recorded can be trained by themselves.
void train_heads(const Job& job, const HeadFamily& family, const std::vector<const Trial*>& trials,
                 const SweepSpec& spec, const SweepFolder& folder, ResultWriter& writer,
                 const std::function<void(const TrialResult&)>& record, const StopToken& stop);

}  // namespace bertdist
