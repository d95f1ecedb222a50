#include "data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <sstream>

#include "base/error.h"
#include "comm/mpi_communicator.h"
#include "comm/one_process_communicator.h"
#include "data/token_cache.h"

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
