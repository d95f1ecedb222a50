#include "commands.h"
#include "data_setup.h"

namespace bertdist {

void run_prepare(const Job& job) {
  prepare_caches(job, open_model_source(job.config), labels_of_configuration(job.config));
}

}  // namespace bertdist
