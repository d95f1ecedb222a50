#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cstring>
#include <limits>

#include "model/model_test_tools.h"

namespace bertdist {
namespace {
using testing::HasSubstr;

std::string with_header(const std::string& header, std::size_t data_size) {
  const std::uint64_t size = header.size();
  std::string file(reinterpret_cast<const char*>(&size), sizeof(size));
  return file + header + std::string(data_size, '\x11');
}

class SafetensorsTest : public testing::Test {
 protected:
  std::filesystem::path path() const { return folder_.path() / "model.safetensors"; }
  std::string problem_of(const std::string& header, std::size_t data_size) {
    write_whole_file(path(), with_header(header, data_size));
    const Error error = error_of([&] { SafetensorsFile file(path()); });
    EXPECT_EQ(error.code(), ExitCode::model);
    EXPECT_THAT(error.what(), HasSubstr(path().string()));
    return error.what();
  }

  // Opens a damaged file and reads all of it: any outcome but an Error or tensors is a crash.
  void must_not_crash(const std::string& content) {
    write_whole_file(path(), content);
    try {
      const SafetensorsFile file(path());
      for (const auto& [name, entry] : file.entries()) {
        if (entry.dtype == "F32") file.tensor(name).sum();
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model);
    }
  }

  std::string small_file() {
    save_safetensors(path(), {{"b", at::arange(6, at::kFloat).view({2, 3})}, {"a", at::ones({}, at::kFloat)}});
    return read_file(path());
  }

  TemporaryFolder folder_;
};

TEST_F(SafetensorsTest, ReadsBackWhatItWrote) {
  const at::Tensor matrix = at::arange(6, at::kFloat).view({2, 3});
  save_safetensors(path(), {{"matrix", matrix.t()}, {"empty", at::zeros({0, 4})}, {"scalar", at::full({}, 2.5)}});
  const SafetensorsFile file(path());
  EXPECT_EQ(file.entries().size(), 3u);
  EXPECT_TRUE(at::equal(file.tensor("matrix"), matrix.t()));
  EXPECT_EQ(file.tensor("empty").sizes().vec(), (std::vector<std::int64_t>{0, 4}));
  EXPECT_EQ(file.tensor("scalar").item<float>(), 2.5f);
}

TEST_F(SafetensorsTest, ViewOutlivesTheFileObject) {
  save_safetensors(path(), {{"x", at::arange(1000, at::kFloat)}});
  at::Tensor view = SafetensorsFile(path()).tensor("x");
  EXPECT_EQ(view.sum().item<float>(), 499500.0f);
}

TEST_F(SafetensorsTest, ConvertsOtherFloats) {
  const at::Tensor values = at::tensor({1.5f, -2.0f, 0.25f});
  for (const auto& [dtype, type] : {std::pair{"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"F64", at::kDouble}}) {
    const at::Tensor stored = values.to(type);
    std::string file =
        with_header("{\"x\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":[3],\"data_offsets\":[0," +
                        std::to_string(stored.nbytes()) + "]}}",
                    stored.nbytes());
    std::memcpy(file.data() + file.size() - stored.nbytes(), stored.const_data_ptr(), stored.nbytes());
    write_whole_file(path(), file);
    const at::Tensor read = SafetensorsFile(path()).tensor("x");
    EXPECT_EQ(read.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(read, values)) << dtype;
  }
}

TEST_F(SafetensorsTest, ReadsUnalignedData) {
  for (const std::string padding : {"", " ", "  ", "   "}) {
    write_whole_file(path(), with_header(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})" + padding, 8));
    const at::Tensor tensor = SafetensorsFile(path()).tensor("x");
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % 4, 0u);
    EXPECT_TRUE(at::equal(tensor[0], tensor[1]));
  }
}

TEST_F(SafetensorsTest, RefusesToReadIntegersAsWeights) {
  write_whole_file(path(), with_header(R"({"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8));
  const SafetensorsFile file(path());
  EXPECT_THAT(error_of([&] { file.tensor("ids"); }).what(), HasSubstr("dtype I64"));
  EXPECT_THAT(error_of([&] { file.tensor("none"); }).what(), HasSubstr("no tensor 'none'"));
}

TEST_F(SafetensorsTest, SaysWhatIsWrongWithAHeader) {
  const auto tensor = [](const std::string& shape, const std::string& offsets) {
    return R"({"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  EXPECT_THAT(problem_of(" {}", 0), HasSubstr("does not start with '{'"));
  EXPECT_THAT(problem_of("{", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(problem_of("{}x", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(problem_of("{\"\xff\":1}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(problem_of("{\"x\":" + std::string(100'000, '['), 0), HasSubstr("nested too deeply"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[1]", "[0,4]") + ",\"x\":" + tensor("[1]", "[0,4]") + "}", 4),
              HasSubstr("'x' twice"));
  EXPECT_THAT(problem_of(R"({"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("'dtype' twice"));
  EXPECT_THAT(problem_of("{\"x\":1}", 0), HasSubstr("exactly dtype, shape and data_offsets"));
  EXPECT_THAT(problem_of(R"({"__metadata__":{"a":1}})", 0), HasSubstr("__metadata__"));
  EXPECT_THAT(problem_of(R"({"x":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4), HasSubstr("dtype 'F33'"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[2]", "[0,4]") + "}", 4), HasSubstr("needs 8"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[-1]", "[0,4]") + "}", 4), HasSubstr("not a list of sizes"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[1.0]", "[0,4]") + "}", 4), HasSubstr("not a list of sizes"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[[1]]", "[0,4]") + "}", 4), HasSubstr("nested too deeply"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[1]", "[4,0]") + "}", 4), HasSubstr("outside the file's 4 bytes"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[1]", "[0,400]") + "}", 4), HasSubstr("outside the file's 4 bytes"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[1]", "[0]") + "}", 4), HasSubstr("not two numbers"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[1]", "[0,4]") + "}", 5), HasSubstr("cover 4 bytes"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[1]", "[4,8]") + "}", 8), HasSubstr("hole or overlap"));
  EXPECT_THAT(problem_of("{\"x\":" + tensor("[2]", "[0,8]") + ",\"y\":" + tensor("[1]", "[4,8]") + "}", 8),
              HasSubstr("hole or overlap"));
}

TEST_F(SafetensorsTest, ChecksOverflow) {
  const auto problem_of_shape = [&](const std::string& shape) {
    return problem_of(R"({"x":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,0]}})", 0);
  };
  EXPECT_THAT(problem_of_shape("[4294967296,4294967296]"), HasSubstr("overflows"));
  EXPECT_THAT(problem_of_shape("[4611686018427387904]"), HasSubstr("overflows"));
  EXPECT_THAT(problem_of_shape("[0,4611686018427387904,4]"), HasSubstr("overflows"));
  EXPECT_THAT(problem_of_shape("[18446744073709551615]"), HasSubstr("not a list of sizes"));
}

TEST_F(SafetensorsTest, ChecksTheHeadersSize) {
  const std::string huge("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
  write_whole_file(path(), huge);
  EXPECT_THAT(error_of([&] { SafetensorsFile file(path()); }).what(), HasSubstr("claims"));
  write_whole_file(path(), std::string("\x03\0\0\0\0\0\0\0{}", 10));
  EXPECT_THAT(error_of([&] { SafetensorsFile file(path()); }).what(), HasSubstr("does not fit"));
  EXPECT_THAT(error_of([&] { SafetensorsFile file(folder_.path() / "none"); }).what(), HasSubstr("cannot open"));
  EXPECT_THAT(error_of([&] { SafetensorsFile file(folder_.path()); }).what(), HasSubstr("not a regular file"));
}

TEST_F(SafetensorsTest, EveryTruncationIsAnError) {
  const std::string whole = small_file();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_whole_file(path(), whole.substr(0, size));
    EXPECT_EQ(error_of([&] { SafetensorsFile file(path()); }).code(), ExitCode::model) << size;
  }
}

TEST_F(SafetensorsTest, NoFlippedBitCrashes) {
  const std::string whole = small_file();
  for (std::size_t byte = 0; byte < whole.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << bit));
      must_not_crash(damaged);
    }
  }
}

TEST_F(SafetensorsTest, NoRandomBytesCrash) {
  const std::string whole = small_file();
  std::mt19937 random(3);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string damaged = whole;
    for (int i = 0; i < 4; ++i)
      damaged[8 + random() % (damaged.size() - 8)] = static_cast<char>("0123456789[]{},:\"-eE."[random() % 21]);
    must_not_crash(damaged);
  }
}

TEST_F(SafetensorsTest, WritingWhereNothingCanBeWrittenIsAnOutputError) {
  const Error error = error_of([&] {
    save_safetensors(folder_.path() / "no" / "x.safetensors", {{"x", at::ones(1)}});
  });
  EXPECT_EQ(error.code(), ExitCode::output);
}

}  // namespace
}  // namespace bertdist
