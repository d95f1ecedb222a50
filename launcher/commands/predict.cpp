#include "commands.h"
#include "data_setup.h"
#include "model_setup.h"
#include "torch_setup.h"
#include "train/predictor.h"

namespace bertdist {

void run_predict(const Job& job) {
  use_threads(job);
  const Config& config = job.config;
  const ModelSource source = open_model_source(config);
  const BertForSequenceClassification model = load_trained_model(job, source.folder);

  ColumnOptions columns = column_options(config);
  columns.label_column.reset();
  const std::int64_t num_rows = predict(model, source.tokenizer,
                                        {.file = config.test_file,
                                         .table = table_options(config),
                                         .columns = columns,
                                         .output_columns = config.output_columns,
                                         .output_file = config.output_file,
                                         .max_seq_length = source.max_seq_length,
                                         .truncation_strategy = truncation_strategy(config),
                                         .skip_bad_rows = config.on_bad_row == Config::BadRow::skip,
                                         .max_samples = config.max_predict_samples.value_or(-1),
                                         .dtype = inference_dtype(config)},
                                        job.communicator, job.log);
  if (!config.output_file.empty()) job.log.info("{} predictions in '{}'", num_rows, config.output_file);
}

}  // namespace bertdist
