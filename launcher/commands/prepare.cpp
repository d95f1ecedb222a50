#include "commands.h"
#include "data_setup.h"
#include "model_setup.h"

namespace bertdist {

void run_prepare(const Job& job) {
  const std::filesystem::path folder = model_folder(job.config);
  const BertTokenizer tokenizer = BertTokenizer::from_pretrained(folder);
  const BertConfig model_config = BertConfig::from_file(folder / "config.json");
  require_fitting_vocabulary(tokenizer, model_config, folder);
  prepare_caches(job, tokenizer, max_seq_length(job.config, model_config), labels_of_configuration(job.config));
}

}  // namespace bertdist
