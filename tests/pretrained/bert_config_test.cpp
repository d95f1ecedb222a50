#include "pretrained/bert_config.h"

#include <gmock/gmock.h>

#include "model/model_test_tools.h"

namespace bertdist {
namespace {
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

std::string problem_of(const json& object) {
  const Error error = error_of([&] { BertConfig::from_json(object, "config.json"); });
  EXPECT_EQ(error.code(), ExitCode::model);
  return error.what();
}

TEST(BertConfigTest, TakesHuggingFacesDefaults) {
  const BertConfig config = BertConfig::from_json({{"model_type", "bert"}}, "config.json");
  EXPECT_EQ(config.hidden_size, 768);
  EXPECT_EQ(config.vocab_size, 30522);
  EXPECT_THAT(config.id2label, ElementsAre("LABEL_0", "LABEL_1"));
  EXPECT_EQ(config.head_dropout_prob(), 0.1);
}

TEST(BertConfigTest, ReadsLabelsInTheOrderOfTheirIds) {
  json labels = json::object();
  for (int id = 0; id < 12; ++id) labels[std::to_string(id)] = "label " + std::to_string(id);
  const BertConfig config = BertConfig::from_json({{"id2label", labels}}, "config.json");
  EXPECT_EQ(config.num_labels(), 12);
  EXPECT_EQ(config.id2label[10], "label 10");
  EXPECT_EQ(BertConfig::from_json({{"num_labels", 5}}, "config.json").num_labels(), 5);
}

TEST(BertConfigTest, RefusesWhatItCannotRun) {
  EXPECT_THAT(problem_of({{"model_type", "distilbert"}}), HasSubstr("config.json: model_type = \"distilbert\""));
  EXPECT_THAT(problem_of({{"position_embedding_type", "relative_key"}}), HasSubstr("position_embedding_type"));
  EXPECT_THAT(problem_of({{"is_decoder", true}}), HasSubstr("is_decoder"));
  EXPECT_THAT(problem_of({{"hidden_act", "mish"}}), HasSubstr("hidden_act"));
  EXPECT_THAT(problem_of({{"problem_type", "other"}}), HasSubstr("problem_type"));
  EXPECT_THAT(problem_of({{"hidden_size", 100}}), HasSubstr("not a multiple of num_attention_heads = 12"));
  EXPECT_THAT(problem_of({{"hidden_size", 0}}), HasSubstr("not between 1"));
  EXPECT_THAT(problem_of({{"hidden_size", -768}}), HasSubstr("not between 1"));
  EXPECT_THAT(problem_of({{"hidden_size", "768"}}), HasSubstr("not a whole number"));
  EXPECT_THAT(problem_of({{"num_hidden_layers", 1'000'000'000'000}}), HasSubstr("not between 1"));
  EXPECT_THAT(problem_of({{"num_labels", 1'000'000'000'000}}), HasSubstr("not between 1"));
  EXPECT_THAT(problem_of({{"hidden_dropout_prob", 1.0}}), HasSubstr("hidden_dropout_prob"));
  EXPECT_THAT(problem_of({{"layer_norm_eps", "x"}}), HasSubstr("not a number"));
  EXPECT_THAT(problem_of({{"id2label", {{"0", "a"}, {"2", "b"}}}}), HasSubstr("no text for id 1"));
  EXPECT_THAT(problem_of({{"id2label", {"a", "b"}}}), HasSubstr("id2label"));
  EXPECT_THAT(problem_of({{"pad_token_id", 30522}}), HasSubstr("pad_token_id"));
  EXPECT_THAT(problem_of(json::array()), HasSubstr("not a JSON object"));
}

TEST(BertConfigTest, NoFileCrashesIt) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "config.json";
  EXPECT_THAT(error_of([&] { BertConfig::from_file(path); }).what(), HasSubstr("cannot read"));
  for (const std::string& content :
       {std::string(), std::string("{"), std::string(1 << 20, '['), "{\"a\":" + std::string(1 << 20, '['),
        std::string("{\"hidden_size\":1e999}"), std::string("\xff\xfe{}")}) {
    write_whole_file(path, content);
    EXPECT_EQ(error_of([&] { BertConfig::from_file(path); }).code(), ExitCode::model);
  }
}

TEST(BertConfigTest, KeepsUnknownKeysAndDescribesTheClassifier) {
  BertConfig config = BertConfig::from_json({{"custom", {{"deep", 1}}},
                                             {"architectures", {"BertModel"}},
                                             {"torch_dtype", "float16"},
                                             {"layer_norm_eps", 1e-12}},
                                            "config.json");
  config.id2label = {"Safe", "Not Safe"};
  config.problem_type = "single_label_classification";
  const json saved = config.to_json();
  EXPECT_EQ(saved["custom"]["deep"], 1);
  EXPECT_EQ(saved["architectures"], json::array({"BertForSequenceClassification"}));
  EXPECT_EQ(saved["dtype"], "float32");
  EXPECT_FALSE(saved.contains("torch_dtype"));
  EXPECT_EQ(saved["id2label"]["1"], "Not Safe");
  EXPECT_EQ(saved["label2id"]["Not Safe"], 1);
  EXPECT_EQ(saved["problem_type"], "single_label_classification");
  EXPECT_EQ(BertConfig::from_json(saved, "again").to_json(), saved);
}

}  // namespace
}  // namespace bertdist
