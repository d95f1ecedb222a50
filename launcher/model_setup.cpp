#include "model_setup.h"

#include <fmt/format.h>

#include "base/content_hash.h"
#include "base/error.h"
#include "torch_setup.h"
#include "train/tensor_bytes.h"

namespace bertdist {

BertForSequenceClassification load_model(const Job& job, const std::filesystem::path& folder,
                                         const std::vector<std::string>& label_names) {
  LoadReport report;
  auto model = BertForSequenceClassification::from_pretrained(folder,
                                                              {.id2label = label_names,
                                                               .problem_type = job.config.problem_type,
                                                               .classifier_dropout = job.config.classifier_dropout,
                                                               .seed = static_cast<std::uint64_t>(job.config.seed)},
                                                              report);
  place_model(job, model, training_dtype(job));
  if (!report.initialized.empty()) {
    job.log.info("new, drawn from seed {}: {}", job.config.seed, fmt::join(report.initialized, ", "));
  }
  if (!report.unused.empty()) job.log.info("not used from '{}': {}", folder.string(), fmt::join(report.unused, ", "));
  return model;
}

namespace {

void require_same_weights(const BertForSequenceClassification& model, Communicator& communicator) {
  if (communicator.world_size() == 1) return;
  ContentHash hash;
  for (const NamedParameter& parameter : model.parameters()) {
    hash.field(parameter.name).update(bytes_of(parameter.tensor));
  }
  require_same_on_all_ranks(communicator, hash.hex(), "the model's weights");
}

}  // namespace

BertForSequenceClassification load_trained_model(const Job& job, const std::filesystem::path& folder) {
  LoadReport report;
  auto model = BertForSequenceClassification::from_pretrained(folder, {}, report);
  const std::string& problem_type = model.config().problem_type;
  if (!problem_type.empty() && problem_type != "single_label_classification") {
    throw Error(ExitCode::model,
                fmt::format("'{}' was trained for problem_type = \"{}\"", folder.string(), problem_type),
                "this version knows single_label_classification only");
  }
  if (!report.initialized.empty()) {
    throw Error(ExitCode::model,
                fmt::format("'{}' has no trained classifier: {} are missing", folder.string(),
                            fmt::join(report.initialized, ", ")),
                "name the output_dir of a training, or one of its checkpoints, as model_name_or_path");
  }
  require_same_weights(model, job.communicator);
  if (job.gpu) place_model(job, model, inference_dtype(job.config));
  return model;
}

}  // namespace bertdist
