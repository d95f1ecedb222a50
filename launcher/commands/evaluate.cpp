#include <fmt/core.h>

#include "base/atomic_file.h"
#include "commands.h"
#include "model_setup.h"
#include "results.h"
#include "splits.h"
#include "torch_setup.h"
#include "train/evaluator.h"

namespace bertdist {

void run_evaluate(const Job& job) {
  use_threads(job);
  const Config& config = job.config;
  const at::ScalarType dtype = inference_dtype(config);
  const ModelSource source = open_model_source(config);
  const BertForSequenceClassification model = load_trained_model(job, source.folder);

  Config files = config;
  files.train_file.clear();
  const Job evaluation_job{files, job.communicator, job.launch, job.log, job.num_threads};
  const TokenCaches caches = open_caches(prepare_caches(evaluation_job, source, LabelMap(model.config().id2label)));
  const Splits splits = select_rows(files, caches);
  warn_of_missing_classes(job, splits, model.config().num_labels());
  const ResultFiles results(config.output_dir, job.communicator.rank());
  const auto evaluate_split = [&](const std::optional<Dataset>& split, const char* name, const char* prefix) {
    if (!split) return;
    const Forward forward(model, *split, dtype);
    results.write(name, evaluate(forward, config.per_device_eval_batch_size, model.config().num_labels(),
                                 /*label_smoothing_factor=*/0, job.communicator)
                            .to_json(prefix));
  };
  // A lone test file is the evaluation; beside a validation file it has results of its own.
  evaluate_split(splits.validation, "eval", "eval_");
  evaluate_split(splits.test, splits.validation ? "test" : "eval", splits.validation ? "test_" : "eval_");
}

}  // namespace bertdist
