#include "debug_mode.h"

#include <ATen/Context.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "data_setup.h"
#include "debugging/batch_check.h"
#include "debugging/gradient_check.h"
#include "model/freezing.h"
#include "model_source.h"
#include "train/head_gradients.h"
#include "train/head_step.h"

namespace bertdist {

namespace {

void check_split(const Dataset& split, const BertConfig& model, const RowNames& rows, std::string_view name) {
  constexpr std::int64_t kBlock = 256;
  for (std::int64_t begin = 0; begin < split.size(); begin += kBlock) {
    std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min(kBlock, split.size() - begin)));
    std::iota(indices.begin(), indices.end(), begin);
    check_batch(split.input(indices), split.labels(indices), model, rows, name);
  }
}

}  // namespace

void begin_debug_mode(const Job& job) {
  const int world_size = job.communicator.world_size();
  if (world_size > 1) {
    throw Error(ExitCode::configuration, fmt::format("debug mode is one process, not {}", world_size),
                fmt::format("start it without mpirun; --debug.world_size {} computes what {} ranks do, to the bit; "
                            "--debug false ignores the file's [debug]",
                            world_size, world_size));
  }
  // cuBLAS is deterministic only with a workspace of fixed size, and reads this when it starts.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(/*b=*/true, /*warn_only=*/false);
  at::globalContext().setDeterministicCuDNN(true);
  at::globalContext().setBenchmarkCuDNN(false);
}

SourceRows source_rows(const Config& config, const std::string& file) {
  return SourceRows(file, table_options(config), column_options(config));
}

RowNames row_names(const Config& config, const std::string& file, const std::shared_ptr<const TokenCache>& cache) {
  return RowNames([cache](std::int64_t row) { return cache->source_line(row); }, source_rows(config, file));
}

void check_rows(const Config& config, const TokenCaches& caches, const Splits& splits, const BertConfig& model) {
  const RowNames train_rows = row_names(config, config.train_file, caches.train);
  check_split(*splits.train, model, train_rows, "a training row");
  if (splits.validation) {
    const RowNames rows = caches.validation ? row_names(config, config.validation_file, caches.validation) : train_rows;
    check_split(*splits.validation, model, rows, "a validation row");
  }
  if (splits.test) check_split(*splits.test, model, row_names(config, config.test_file, caches.test), "a test row");
}

void check_gradients(const Job& job, const BertConfig& model) {
  const Config& config = job.config;
  GradientSample sample =
      make_gradient_sample(model, config.label_smoothing_factor, static_cast<std::uint64_t>(config.seed));
  apply_freezing(sample.model, freeze_spec(config), config.frozen_dropout);
  constexpr double kTolerance = 1e-6;
  const std::string agreement =
      require_agreement(compare_with_differences(sample, autograd_gradients(sample), kTolerance));
  job.log.info("check_gradients: {}", agreement);
  constexpr double kFloat32Tolerance = 1e-3;
  require_agreement(compare_with_differences(sample, training_gradients(sample), kFloat32Tolerance));
  job.log.info("check_gradients: so do those that a training step computes on the CPU, in float32");
  if (!trains_head_alone(sample.model)) return;
  require_agreement(compare_with_differences(sample, head_step_gradients(sample), kFloat32Tolerance));
  job.log.info("check_gradients: so do those of the step of a head alone, in float32");
}

}  // namespace bertdist
