#include "train/frozen_features.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <fmt/core.h>
#include <malloc.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/atomic_file.h"
#include "base/content_hash.h"
#include "data/cache_folder.h"
#include "data/cooperation.h"
#include "train/tensor_bytes.h"

namespace bertdist {
namespace fs = std::filesystem;

namespace {

constexpr double kMaxBytesInMemory = 256.0 * (1 << 20);

std::string hash_of_frozen_weights(const BertForSequenceClassification& model) {
  const BertConfig& config = model.config();
  ContentHash hash;
  hash.field(fmt::format("{} {} {}", config.hidden_act, config.layer_norm_eps, config.num_attention_heads));
  const auto is_frozen = [&](const std::string& name) {
    if (name.starts_with("bert.embeddings.")) return true;
    for (std::int64_t layer = 0; layer < model.frozen_prefix().num_layers; ++layer) {
      if (name.starts_with(fmt::format("bert.encoder.layer.{}.", layer))) return true;
    }
    return false;
  };
  for (const NamedParameter& parameter : model.parameters()) {
    if (is_frozen(parameter.name)) hash.field(parameter.name).update(bytes_of(on_host(parameter.tensor)));
  }
  return hash.hex();
}

std::string in_mib(double bytes) {
  return fmt::format("{:.{}f} MiB", bytes / (1 << 20), bytes < (10 << 20) ? 1 : 0);
}

// Collective. For root, so that ranks agree.
bool is_there(const CacheFolder& folder, Communicator& communicator) {
  const bool found = communicator.rank() == 0 && fs::exists(folder.cache());
  return broadcast_text(communicator, found ? "found" : "missing", 0, "feature cache found") == "found";
}

// Makes the file where it is not there yet.
void ensure_file(const CacheFolder& folder, const FeatureDescription& description, const Dataset& dataset,
                 const std::function<void(Receivers, const FeatureSink&)>& run_pass, Communicator& communicator,
                 const Log& log) {
  const fs::path source = dataset.cache().source() + ".features";  // a name for the record of what it was made from
  const std::optional<FileLock> lock = lock_unless_found(folder, "feature cache", communicator, log);
  const bool build = broadcast_text(communicator, lock ? "build" : "found", 0, "feature cache found") == "build";
  if (!build) {
    log.info("output of the frozen layers found: {}", folder.cache().string());
    return;
  }
  std::optional<AtomicFile> file;
  std::optional<FeatureFileWriter> writer;
  root_in_steps(communicator, "new feature cache", [&] {
    const std::string changes = folder.changes_since_last(source, description.fields);
    if (!changes.empty()) log.info("the frozen layers run anew: {}", changes);
    if (lock->locked()) folder.remove_stale_files();
    file.emplace(folder.cache());
    writer.emplace(file->temporary_path(), description);
    return true;
  });
  run_pass(Receivers::root, [&](std::span<const float> values) { writer->append(values); });
  root_in_steps(communicator, "feature cache", [&] {
    writer->finish();
    file->commit();
    folder.remember(source, description.fields);
    return true;
  });
}

}  // namespace

FrozenFeatures::FrozenFeatures(DistinctRows rows, std::int64_t hidden_size, bool cls_only)
    : place_(std::move(rows.place)), offsets_{0}, hidden_size_(hidden_size) {
  for (const std::int32_t length : rows.lengths) offsets_.push_back(offsets_.back() + (cls_only ? 1 : length));
}

std::optional<FrozenFeatures> FrozenFeatures::compute(const BertForSequenceClassification& model,
                                                      const Dataset& dataset, const FrozenPassOptions& options,
                                                      Communicator& communicator, const Log& log) {
  const std::int64_t num_layers = model.frozen_prefix().num_layers;
  const bool cls_only = model.cls_hidden_is_constant();
  const DistinctRows rows(dataset);
  FrozenFeatures features(rows, model.config().hidden_size, cls_only);
  const FeatureDescription description{
      .fields = {{"weights", hash_of_frozen_weights(model)},
                 {"tokens", rows.content_hash},
                 {"dtype", fmt::format("{}{}", options.dtype == at::kFloat ? "float32" : "bfloat16",
                                       model.is_on_device() ? " on a GPU" : "")},
                 {"batch", fmt::format("{} tokens", forward_batch(model.is_on_device()).tokens)},  // decides last bits
                 {"output", fmt::format("{} after layer {}", cls_only ? "[CLS]" : "all tokens", num_layers)}},
      .hidden_size = features.hidden_size_,
      .num_vectors = features.offsets_.back()};
  require_same_on_all_ranks(communicator, description.content_hash(), "the frozen layers' weights, rows or options");

  const auto num_bytes = static_cast<double>(description.num_bytes());
  const CacheFolder folder(options.cache_dir, description.content_hash());
  const bool on_disk = num_bytes <= options.max_cache_bytes && (options.may_write || is_there(folder, communicator));
  log.info("the frozen layers' output: {} distinct rows of {}, {} tokens, {}: {}", rows.indices.size(), dataset.size(),
           rows.num_tokens, in_mib(num_bytes),
           on_disk                          ? "kept on disk"
           : num_bytes <= kMaxBytesInMemory ? "kept in memory"
                                            : "not kept, computed whenever it is needed");
  if (!on_disk && num_bytes > kMaxBytesInMemory) return std::nullopt;

  const auto run_pass = [&](Receivers receivers, const FeatureSink& sink) {
    {
      const FrozenEncoder encoder(model, num_layers, options.dtype);
      run_frozen_pass(encoder, dataset, rows, receivers, communicator, sink);
    }
    ::malloc_trim(0);  // of the encoder's weights
  };
  if (on_disk) {
    ensure_file(folder, description, dataset, run_pass, communicator, log);
    on_all_ranks(communicator, "feature cache", [&] {
      features.file_.emplace(folder.cache(), description, communicator.rank(), communicator.world_size());
    });
  } else {
    features.memory_ = at::empty({description.num_vectors, features.hidden_size_}, at::kFloat);
    float* next = features.memory_.mutable_data_ptr<float>();
    run_pass(Receivers::all_ranks,
             [&](std::span<const float> values) { next = std::copy(values.begin(), values.end(), next); });
  }
  return features;
}

at::Tensor FrozenFeatures::of_rows(std::span<const std::int64_t> indices) const {
  const auto range_of = [&](std::int64_t index) {
    const auto place = static_cast<std::size_t>(place_[static_cast<std::size_t>(index)]);
    return std::pair(offsets_[place], offsets_[place + 1] - offsets_[place]);
  };
  std::int64_t num_vectors = 0;
  for (const std::int64_t index : indices) num_vectors += range_of(index).second;
  at::Tensor values = at::empty({num_vectors, hidden_size_}, at::kFloat);
  float* out = values.mutable_data_ptr<float>();
  for (const std::int64_t index : indices) {
    const auto [first, count] = range_of(index);
    if (file_) {
      file_->read(first, count, out);
    } else {
      std::copy_n(memory_.const_data_ptr<float>() + first * hidden_size_, count * hidden_size_, out);
    }
    out += count * hidden_size_;
  }
  return values;
}

}  // namespace bertdist
