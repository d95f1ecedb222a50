#include "commands.h"
#include "data_setup.h"

namespace bertdist {

void run_prepare(const Job& job) {
  const ModelSource source = open_model_source(job.config);
  prepare_caches(job, source, known_labels(job.config, source.config));
}

}  // namespace bertdist
