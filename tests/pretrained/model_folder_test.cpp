#include "pretrained/model_folder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>

#include "model/bert.h"
#include "model/model_test_tools.h"
#include "model/safetensors.h"

namespace bertdist {
namespace {
namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

class HubCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* variable : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"}) {
      ::unsetenv(variable);
    }
    ::setenv("HOME", (folder_.path() / "home").c_str(), 1);
  }

  fs::path add_snapshot(const fs::path& cache, const std::string& entry) {
    write_whole_file(cache / entry / "refs" / "main", "abc123");
    const fs::path snapshot = cache / entry / "snapshots" / "abc123";
    write_whole_file(snapshot / "config.json", "{}");
    return snapshot;
  }

  TemporaryFolder folder_;
};

TEST_F(HubCacheTest, AFolderIsItself) {
  EXPECT_EQ(resolve_model_folder(folder_.path().string()), folder_.path());
}

TEST_F(HubCacheTest, LooksWhereHuggingFaceDoes) {
  const fs::path by_home =
      add_snapshot(folder_.path() / "home" / ".cache" / "huggingface" / "hub", "models--org--name");
  EXPECT_EQ(resolve_model_folder("org/name"), by_home);
  ::setenv("HF_HOME", (folder_.path() / "hf").c_str(), 1);
  const fs::path by_hf_home = add_snapshot(folder_.path() / "hf" / "hub", "models--org--name");
  EXPECT_EQ(resolve_model_folder("org/name"), by_hf_home);
  ::setenv("HF_HUB_CACHE", (folder_.path() / "cache").c_str(), 1);
  const fs::path by_cache = add_snapshot(folder_.path() / "cache", "models--org--name");
  EXPECT_EQ(resolve_model_folder("org/name"), by_cache);
}

TEST_F(HubCacheTest, FindsOldNamesWithoutAnOrganisation) {
  ::setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  const fs::path google = add_snapshot(folder_.path(), "models--google-bert--bert-base-uncased");
  EXPECT_EQ(resolve_model_folder("bert-base-uncased"), google);
  const fs::path plain = add_snapshot(folder_.path(), "models--bert-base-uncased");
  EXPECT_EQ(resolve_model_folder("bert-base-uncased"), plain);
}

TEST_F(HubCacheTest, SaysWhereItLookedAndHowToFetch) {
  ::setenv("HF_HUB_CACHE", "/cache", 1);
  const Error error = error_of([] { resolve_model_folder("bert-base-uncased"); });
  EXPECT_EQ(error.code(), ExitCode::model);
  EXPECT_THAT(error.what(), HasSubstr((fs::current_path() / "bert-base-uncased").string()));
  EXPECT_THAT(error.what(), HasSubstr("/cache/models--bert-base-uncased/snapshots"));
  EXPECT_THAT(error.what(), HasSubstr("/cache/models--google-bert--bert-base-uncased/snapshots"));
  EXPECT_THAT(error.hint(), HasSubstr("launcher/fetch model bert-base-uncased"));
  for (const char* name : {"", "/no/such/folder", "../none", "a/b/c"}) {
    EXPECT_EQ(error_of([&] { resolve_model_folder(name); }).code(), ExitCode::model) << name;
  }
}

class LoadingTest : public testing::Test {
 protected:
  LoadingTest() : model_(BertForSequenceClassification::from_config(small_config(), 1)) { save(all()); }

  NamedTensors all() const {
    NamedTensors tensors;
    for (const NamedParameter& parameter : model_.parameters()) tensors.emplace_back(parameter.name, parameter.tensor);
    return tensors;
  }
  NamedTensors all_but(const std::string& part) const {
    NamedTensors tensors = all();
    std::erase_if(tensors, [&](const auto& tensor) { return tensor.first.find(part) != std::string::npos; });
    return tensors;
  }
  void save(const NamedTensors& tensors) const {
    write_whole_file(path() / "config.json", model_.config().to_json().dump());
    save_safetensors(path() / "model.safetensors", tensors);
  }
  BertForSequenceClassification load(const PretrainedOptions& options = {}) {
    return BertForSequenceClassification::from_pretrained(path(), options, report_);
  }
  void expect_same(const BertForSequenceClassification& loaded, const std::string& but = "none") const {
    ASSERT_EQ(loaded.parameters().size(), model_.parameters().size());
    for (std::size_t i = 0; i < loaded.parameters().size(); ++i) {
      const NamedParameter& parameter = loaded.parameters()[i];
      EXPECT_EQ(parameter.name, model_.parameters()[i].name);
      EXPECT_TRUE(parameter.tensor.requires_grad());
      if (parameter.name.find(but) == std::string::npos) {
        EXPECT_TRUE(at::equal(parameter.tensor, model_.parameters()[i].tensor)) << parameter.name;
      }
    }
  }
  const fs::path& path() const { return folder_.path(); }

  TemporaryFolder folder_;
  BertForSequenceClassification model_;
  LoadReport report_;
};

TEST_F(LoadingTest, ReadsWhatWasSaved) {
  model_.save_pretrained(path());
  const BertForSequenceClassification loaded = load();
  expect_same(loaded);
  EXPECT_EQ(loaded.config().to_json(), model_.config().to_json());
  EXPECT_THAT(report_.initialized, IsEmpty());
  EXPECT_THAT(report_.unused, IsEmpty());
}

TEST_F(LoadingTest, WeightsAreTheModelsOwnMemory) {
  const BertForSequenceClassification loaded = load();
  fs::resize_file(path() / "model.safetensors", 0);
  expect_same(loaded);
  const c10::AutoGradMode no_grad(false);
  loaded.parameters().front().tensor.add_(1);
}

TEST_F(LoadingTest, ReadsOldLayerNormNamesAndNoPrefix) {
  NamedTensors tensors = all_but("classifier");
  for (auto& [name, tensor] : tensors) {
    name = name.substr(std::string("bert.").size());
    const std::size_t layer_norm = name.find("LayerNorm.");
    if (layer_norm != std::string::npos) name.replace(layer_norm + 10, 6, name.ends_with("weight") ? "gamma" : "beta");
  }
  save(tensors);
  expect_same(load(), "classifier");
  EXPECT_THAT(report_.initialized, ElementsAre("classifier.weight", "classifier.bias"));
}

TEST_F(LoadingTest, ListsUnusedTensorsButNotPositionIds) {
  NamedTensors tensors = all();
  tensors.emplace_back("cls.predictions.bias", at::ones({50}));
  tensors.emplace_back("bert.embeddings.position_ids", at::arange(32, at::kFloat).view({1, 32}));
  save(tensors);
  expect_same(load());
  EXPECT_THAT(report_.unused, ElementsAre("cls.predictions.bias"));
}

TEST_F(LoadingTest, ReadsShards) {
  fs::remove(path() / "model.safetensors");
  NamedTensors first = all_but("classifier"), second = {};
  nlohmann::json weight_map;
  for (const auto& tensor : first) weight_map[tensor.first] = "model-00001-of-00002.safetensors";
  for (const auto& tensor : all()) {
    if (tensor.first.starts_with("classifier")) second.push_back(tensor);
  }
  for (const auto& tensor : second) weight_map[tensor.first] = "model-00002-of-00002.safetensors";
  save_safetensors(path() / "model-00001-of-00002.safetensors", first);
  save_safetensors(path() / "model-00002-of-00002.safetensors", second);
  write_whole_file(path() / "model.safetensors.index.json", nlohmann::json{{"weight_map", weight_map}}.dump());
  expect_same(load());
  fs::remove(path() / "model-00002-of-00002.safetensors");
  EXPECT_THAT(error_of([&] { load(); }).what(), HasSubstr("model-00002-of-00002.safetensors"));
  for (const char* index :
       {"{}", "[]", R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":"../x.safetensors"}})", "{"}) {
    write_whole_file(path() / "model.safetensors.index.json", index);
    EXPECT_EQ(error_of([&] { load(); }).code(), ExitCode::model) << index;
  }
}

TEST_F(LoadingTest, InitializesAMissingHeadFromTheSeed) {
  save(all_but("classifier"));
  const at::Tensor first = load({.seed = 5}).parameters()[model_.parameters().size() - 2].tensor;
  EXPECT_THAT(report_.initialized, ElementsAre("classifier.weight", "classifier.bias"));
  save(all_but("pooler"));
  BertForSequenceClassification without_pooler = load({.seed = 5});
  EXPECT_THAT(report_.initialized, ElementsAre("bert.pooler.dense.weight", "bert.pooler.dense.bias"));
  save(all_but("classifier"));
  EXPECT_TRUE(at::equal(first, load({.seed = 5}).parameters()[model_.parameters().size() - 2].tensor));
  EXPECT_FALSE(at::equal(first, load({.seed = 6}).parameters()[model_.parameters().size() - 2].tensor));
  EXPECT_EQ(without_pooler.parameters()[model_.parameters().size() - 3].tensor.abs().max().item<float>(), 0.0f);
}

TEST_F(LoadingTest, TakesTheCallersLabels) {
  save(all_but("classifier"));
  const BertForSequenceClassification loaded = load({.id2label = {"v", "w", "x", "y", "z"}});
  EXPECT_EQ(loaded.parameters().back().tensor.numel(), 5);
  EXPECT_EQ(loaded.config().to_json()["label2id"]["z"], 4);
}

TEST_F(LoadingTest, NamesAMissingTensor) {
  save(all_but("layer.1.output.dense.bias"));
  EXPECT_THAT(error_of([&] { load(); }).what(), HasSubstr("'bert.encoder.layer.1.output.dense.bias'"));
  save(all_but("classifier.bias"));
  EXPECT_THAT(error_of([&] { load(); }).what(), HasSubstr("'classifier.bias'"));
}

TEST_F(LoadingTest, NamesTensorShapesAndFileOfAMismatch) {
  const Error labels = error_of([&] { load({.id2label = {"x", "y"}}); });
  EXPECT_EQ(labels.code(), ExitCode::model);
  EXPECT_THAT(labels.what(), HasSubstr("'classifier.weight'"));
  EXPECT_THAT(labels.what(), HasSubstr("[3, 24]"));
  EXPECT_THAT(labels.what(), HasSubstr("[2, 24]"));
  EXPECT_THAT(labels.what(), HasSubstr((path() / "model.safetensors").string()));
  EXPECT_THAT(labels.hint(), HasSubstr("number of labels"));

  nlohmann::json config = model_.config().to_json();
  config["vocab_size"] = 1 << 24;
  write_whole_file(path() / "config.json", config.dump());
  EXPECT_THAT(error_of([&] { load(); }).what(), HasSubstr("'bert.embeddings.word_embeddings.weight'"));
}

TEST_F(LoadingTest, RefusesTheSameParameterTwice) {
  NamedTensors tensors = all();
  tensors.emplace_back("bert.embeddings.LayerNorm.gamma", at::ones({24}));
  save(tensors);
  EXPECT_THAT(error_of([&] { load(); }).what(), HasSubstr("both bert.embeddings.LayerNorm.weight"));
}

TEST_F(LoadingTest, TruncatedWeightsAreAnError) {
  fs::resize_file(path() / "model.safetensors", fs::file_size(path() / "model.safetensors") - 1);
  EXPECT_THAT(error_of([&] { load(); }).what(), HasSubstr("model.safetensors"));
}

TEST_F(LoadingTest, TellsHowToConvertPytorchModelBin) {
  fs::remove(path() / "model.safetensors");
  EXPECT_THAT(error_of([&] { load(); }).what(), HasSubstr("neither model.safetensors nor"));
  write_whole_file(path() / "pytorch_model.bin", "pickle");
  const Error error = error_of([&] { load(); });
  EXPECT_THAT(error.what(), HasSubstr("pytorch_model.bin"));
  EXPECT_THAT(error.hint(), HasSubstr("python3 -c"));
  EXPECT_THAT(error.hint(), testing::EndsWith("'" + path().string() + "'"));
}

}  // namespace
}  // namespace bertdist
