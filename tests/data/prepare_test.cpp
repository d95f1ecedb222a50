#include "data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "base/error.h"
#include "comm/mpi_communicator.h"
#include "comm/one_process_communicator.h"
#include "data/token_cache.h"
#include "data/tokenized_block.h"

namespace bertdist {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

// Hands every call on to another communicator, and keeps what its own rank gave to gather_to_root.
class RecordingCommunicator final : public Communicator {
 public:
  explicit RecordingCommunicator(Communicator& inner) : inner_(inner) {}

  std::vector<Bytes> gathered;

  int rank() const override { return inner_.rank(); }
  int world_size() const override { return inner_.world_size(); }
  int local_rank() const override { return inner_.local_rank(); }
  int local_world_size() const override { return inner_.local_world_size(); }
  std::string_view name() const override { return inner_.name(); }
  void all_reduce(Buffer buffer, ReduceOp op, std::string_view what) override { inner_.all_reduce(buffer, op, what); }
  void broadcast(std::span<std::byte> bytes, int root, std::string_view what) override {
    inner_.broadcast(bytes, root, what);
  }
  void broadcast(Buffer buffer, int root, std::string_view what) override { inner_.broadcast(buffer, root, what); }
  std::vector<Bytes> gather_to_root(std::span<const std::byte> bytes, int root, std::string_view what) override {
    gathered.emplace_back(bytes.begin(), bytes.end());
    return inner_.gather_to_root(bytes, root, what);
  }
  std::vector<Bytes> all_gather(std::span<const std::byte> bytes, std::string_view what) override {
    return inner_.all_gather(bytes, what);
  }
  void barrier(std::string_view what) override { inner_.barrier(what); }
  std::unique_ptr<Communicator> split(int color, std::string_view what) override { return inner_.split(color, what); }
  Progress& progress() override { return inner_.progress(); }
  void leave() override { inner_.leave(); }
  [[noreturn]] void abort(int exit_code) override {
    inner_.abort(exit_code);
    std::abort();  // not reached; compilers do not trust a virtual function
  }

 private:
  Communicator& inner_;
};

// Every rank runs every test; rank 0 makes the files.
class PrepareTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = broadcast_text(
        *world_, (fs::temp_directory_path() / fmt::format("bertdist-prepare-{}", ::getpid())).string(), 0, "folder");
    if (is_root()) {
      fs::create_directories(folder_ / "tokenizer");
      std::ofstream(folder_ / "tokenizer/vocab.txt")
          << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\n##b\n##c\n,\n";
    }
    world_->barrier("files");
    options_.token_cache_dir = folder_ / "cache";
    options_.columns.label_column = "label";
    options_.max_seq_length = 16;
  }
  void TearDown() override {
    world_->barrier("end of the test");
    if (is_root()) fs::remove_all(folder_);
    world_->barrier("files removed");
  }

  bool is_root() const { return world_->rank() == 0; }
  fs::path write(const std::string& name, const std::string& content) {
    if (is_root()) std::ofstream(folder_ / name, std::ios::binary) << content;
    world_->barrier("file written");
    return folder_ / name;
  }
  fs::path prepare(const fs::path& source, Communicator& communicator) {
    const BertTokenizer tokenizer = BertTokenizer::from_pretrained(folder_ / "tokenizer");
    return prepare_token_cache(source, options_, tokenizer, communicator,
                               Log(communicator.rank(), communicator.world_size()));
  }
  fs::path prepare(const fs::path& source) { return prepare(source, *world_); }
  Error error_of(const fs::path& source) {
    try {
      prepare(source);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "nothing was thrown";
    return Error(ExitCode::success, "");
  }

  // Labels, pairs and quoted newlines, so long that every rank has several blocks.
  std::string long_table() const {
    std::mt19937 generator(1);
    std::string text = "text,label\n";
    for (int row = 0; row < 6000; ++row) {
      text += '"';
      for (unsigned i = 0; i < generator() % 30; ++i) text += std::string("abc \n,").substr(generator() % 6, 1);
      text += row % 3 == 0 ? "\"\"" : "";
      text += fmt::format("\",{}\n", row % 2 == 0 ? "ham" : "spam");
    }
    return text;
  }

  std::unique_ptr<Communicator> world_ = std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, CommunicatorOptions{});
  fs::path folder_;
  PrepareOptions options_;
};

TEST_F(PrepareTest, HoldsTheRowsInTheOrderOfTheFile) {
  const fs::path source = write("a.csv", "text,label\na b,1\n\"ab\nc\",0\n,1\n");
  const TokenCache cache = TokenCache::open(prepare(source));
  ASSERT_EQ(cache.num_rows(), 3);
  EXPECT_THAT(cache.lengths(), ElementsAre(4, 5, 2));
  EXPECT_THAT(cache.labels(), ElementsAre(1, 0, 1));
  EXPECT_THAT(cache.label_names(), ElementsAre("LABEL_0", "LABEL_1"));
  EXPECT_EQ(cache.source_line(1), 3);
  EXPECT_EQ(cache.source_line(2), 5);
  EXPECT_EQ(cache.max_length(), 5);
  const PackedBatch batch = cache.pack(std::vector<std::int64_t>{2, 0});
  EXPECT_THAT(batch.token_ids, ElementsAre(2, 3, 2, 5, 6, 3));
  EXPECT_THAT(batch.position_ids, ElementsAre(0, 1, 0, 1, 2, 3));
  EXPECT_THAT(batch.token_type_ids, ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 2, 6));
  EXPECT_THAT(batch.row_ids, ElementsAre(2, 0));
  EXPECT_THAT(batch.labels, ElementsAre(1, 1));
}

TEST_F(PrepareTest, PairsHaveTwoSegments) {
  options_.columns = {.text_column = "text", .text_pair_column = "other", .label_column = {}};
  const TokenCache cache = TokenCache::open(prepare(write("a.jsonl", "{\"text\":\"a\",\"other\":\"b c\"}\n")));
  const PackedBatch batch = cache.pack(std::vector<std::int64_t>{0});
  EXPECT_THAT(batch.token_ids, ElementsAre(2, 5, 3, 6, 7, 3));
  EXPECT_THAT(batch.token_type_ids, ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_THAT(batch.labels, ElementsAre(-1));
  EXPECT_FALSE(cache.has_labels());
}

TEST_F(PrepareTest, TheBytesDependOnNeitherRanksNorThreads) {
  const fs::path source = write("long.csv", long_table());
  options_.num_threads = 1 + world_->rank();
  const std::string by_all = read_file(prepare(source));
  world_->barrier("read");
  if (is_root()) fs::remove_all(options_.token_cache_dir);
  world_->barrier("removed");
  options_.num_threads = 1;
  if (is_root()) {
    OneProcessCommunicator alone;
    const fs::path path = prepare(source, alone);
    EXPECT_TRUE(read_file(path) == by_all);
    EXPECT_EQ(TokenCache::open(path).num_rows(), 6000);
  }
}

TEST_F(PrepareTest, EveryRankTokenisesAShareOfTheRows) {
  RecordingCommunicator communicator(*world_);
  const TokenCache cache = TokenCache::open(prepare(write("long.csv", long_table()), communicator));
  std::int64_t num_rows = 0;
  for (const Bytes& bytes : communicator.gathered) {
    for (const TokenizedBlock& block : blocks_from_bytes(bytes)) num_rows += std::ssize(block.lengths);
  }
  EXPECT_GT(num_rows, cache.num_rows() / world_->world_size() / 2);
  world_->all_reduce(buffer_of(std::span(&num_rows, 1)), ReduceOp::sum, "rows of all ranks");
  EXPECT_EQ(num_rows, 6000);
  EXPECT_EQ(cache.num_rows(), 6000);
}

TEST_F(PrepareTest, TokenTypesThatACacheCannotHoldAreRefused) {
  const auto piece = [](const char* kind, const char* id, int type) {
    return nlohmann::json{{kind, {{"id", id}, {"type_id", type}}}};
  };
  const auto write_tokenizer = [&](int type_of_cls, int type_of_pair) {
    const nlohmann::json single{piece("SpecialToken", "[CLS]", type_of_cls), piece("Sequence", "A", 0),
                                piece("SpecialToken", "[SEP]", 0)};
    nlohmann::json pair = single;
    for (const auto& [kind, id] : {std::pair("Sequence", "B"), std::pair("SpecialToken", "[SEP]")}) {
      pair.push_back(piece(kind, id, type_of_pair));
    }
    const nlohmann::json special{{"[CLS]", {{"ids", {2}}}}, {"[SEP]", {{"ids", {3}}}}};
    const nlohmann::json vocab{{"[UNK]", 1}, {"[CLS]", 2}, {"[SEP]", 3}, {"a", 4}};
    write("tokenizer/tokenizer.json",
          nlohmann::json{
              {"normalizer", {{"type", "BertNormalizer"}}},
              {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
              {"post_processor",
               {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}}},
              {"model",
               {{"type", "WordPiece"},
                {"unk_token", "[UNK]"},
                {"continuing_subword_prefix", "##"},
                {"max_input_chars_per_word", 100},
                {"vocab", vocab}}}}
              .dump());
  };
  options_.columns.label_column.reset();
  const fs::path source = write("a.jsonl", R"({"text": "a", "other": "a a"})"
                                           "\n");
  write_tokenizer(1, 0);
  Error error = error_of(source);
  EXPECT_EQ(error.code(), ExitCode::model);
  EXPECT_THAT(error.what(), HasSubstr("other types than 0 for its first part and 1 for its second"));

  options_.columns.text_pair_column = "other";
  write_tokenizer(0, 2);
  EXPECT_EQ(error_of(source).code(), ExitCode::model);
  write_tokenizer(0, 1);
  const PackedBatch batch = TokenCache::open(prepare(source)).pack(std::vector<std::int64_t>{0});
  EXPECT_THAT(batch.token_type_ids, ElementsAre(0, 0, 0, 1, 1, 1));
}

TEST_F(PrepareTest, ASecondRunFindsTheCacheAndAnOptionMakesAnother) {
  const fs::path source = write("a.csv", "text,label\na,0\nb,1\n");
  const fs::path first = prepare(source);
  const auto written = fs::last_write_time(first);
  EXPECT_EQ(prepare(source), first);
  EXPECT_EQ(fs::last_write_time(first), written);
  options_.max_seq_length = 8;
  EXPECT_NE(prepare(source), first);
}

TEST_F(PrepareTest, TheFirstBadRowOfTheFileIsNamed) {
  std::string text = long_table();
  text.insert(text.find("\",ham\n", text.size() / 3) + 1, ",too many");
  text.insert(text.find("\",ham\n", text.size() / 2) + 1, ",too many");
  const fs::path source = write("bad.csv", text);
  const Error error = error_of(source);
  EXPECT_EQ(error.code(), ExitCode::data);
  const std::size_t at = text.find(",too many");
  std::size_t record = text.rfind("\n\"", at);  // a field may hold such a newline too, so this is a lower bound
  EXPECT_THAT(error.what(), HasSubstr("bad.csv:"));
  EXPECT_THAT(error.what(), HasSubstr("number of fields: 3, but 2 in the first record"));
  const int line = std::stoi(std::string(error.what()).substr(std::string(error.what()).find("bad.csv:") + 8));
  EXPECT_LE(line, 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
  EXPECT_GT(line, std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(record), '\n') - 30);
}

TEST_F(PrepareTest, SkippedRowsAreListedBesideTheCache) {
  options_.on_bad_row = BadRowPolicy::skip;
  const fs::path source = write("a.csv", "text,label\na,0\nb\nc,\nb,1\n");
  fs::path path = prepare(source);
  EXPECT_EQ(TokenCache::open(path).num_rows(), 2);
  const std::string list = read_file(path.replace_extension(".skipped.txt"));
  EXPECT_THAT(list, HasSubstr("a.csv:3: number of fields: 1"));
  EXPECT_THAT(list, HasSubstr("a.csv:4: no label in 'label'"));
}

TEST_F(PrepareTest, AnUnknownLabelIsNamedWithTheKnownOnes) {
  options_.labels = LabelMap({"ham", "spam"});
  const Error error = error_of(write("a.csv", "text,label\na,ham\nb,egg\n"));
  EXPECT_EQ(error.code(), ExitCode::data);
  EXPECT_THAT(error.what(), HasSubstr("a.csv:3: unknown label 'egg'"));
  EXPECT_THAT(error.hint(), HasSubstr("'ham', 'spam'"));
}

TEST_F(PrepareTest, FilesWithoutRowsAndColumnsThatAreMissing) {
  EXPECT_EQ(error_of(folder_ / "none.csv").code(), ExitCode::data);
  EXPECT_THAT(error_of(write("empty.csv", "")).what(), HasSubstr("is empty"));
  options_.labels = LabelMap({"ham", "spam"});
  EXPECT_THAT(error_of(write("header.csv", "text,label\n")).what(), HasSubstr("has no rows"));
  EXPECT_THAT(error_of(write("other.csv", "txt,label\na,0\n")).what(), HasSubstr("no column 'text'"));
}

TEST_F(PrepareTest, DamageIsFoundOrHarmless) {
  const fs::path path = prepare(write("a.csv", "text,label\na b c,0\nb,1\nc a,1\n"));
  if (is_root()) {
    const std::string good = read_file(path);
    const TokenCache expected = TokenCache::open(path);
    const std::vector<std::int64_t> rows{0, 1, 2};
    std::mt19937 generator(3);
    int found = 0;
    for (int trial = 0; trial < 300; ++trial) {
      std::string damaged = good;
      const std::size_t at = generator() % (trial % 2 == 0 ? good.size() : 4096);
      damaged[at] = static_cast<char>(damaged[at] ^ static_cast<char>(1U << generator() % 8));
      std::ofstream(path, std::ios::binary) << damaged;
      try {
        const TokenCache cache = TokenCache::open(path);
        EXPECT_EQ(cache.pack(rows).token_ids, expected.pack(rows).token_ids) << at;
        EXPECT_EQ(cache.pack(rows).labels, expected.pack(rows).labels) << at;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::data);
        EXPECT_THAT(error.what(), HasSubstr(path.string()));
        EXPECT_THAT(error.hint(), HasSubstr("delete it"));
        ++found;
      }
    }
    EXPECT_GT(found, 150);
    for (const std::size_t size : {std::size_t{0}, std::size_t{100}, good.size() / 2, good.size() - 1}) {
      std::ofstream(path, std::ios::binary) << good.substr(0, size);
      EXPECT_THROW(TokenCache::open(path), Error) << size;
    }
  }
  world_->barrier("damaged");
  EXPECT_EQ(error_of(folder_ / "a.csv").code(), ExitCode::data);
}

}  // namespace
}  // namespace bertdist
