#include "model/safetensors.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "base/atomic_file.h"
#include "base/error.h"
#include "pretrained/json_file.h"

namespace bertdist {
namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian and read in place");

namespace {

constexpr std::size_t max_header_size = 100'000'000;

[[noreturn]] void fail(const fs::path& path, std::string_view problem) {
  throw Error(ExitCode::model, fmt::format("'{}' is not a usable safetensors file: {}", path.string(), problem),
              "the file may be damaged or not completely downloaded; fetch it again");
}

std::optional<std::size_t> bytes_per_element(std::string_view dtype) {
  static constexpr std::pair<std::string_view, std::size_t> known[] = {
      {"BOOL", 1},        {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1},
      {"F8_E5M2FNUZ", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},     {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},         {"F64", 8}, {"I64", 8}, {"U64", 8},     {"C64", 8}};
  for (const auto& [name, size] : known) {
    if (name == dtype) return size;
  }
  return std::nullopt;
}

// The sizes that at::Tensor can hold, with strides that cannot overflow even where one of the sizes is 0.
std::vector<std::int64_t> read_shape(const json& value, const std::function<void(std::string_view)>& fail_tensor) {
  if (!value.is_array()) fail_tensor("has no shape");
  std::vector<std::int64_t> shape;
  std::int64_t product = 1;
  for (const json& size : value) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
      fail_tensor("has a shape that is not a list of sizes");
    }
    shape.push_back(size.get<std::int64_t>());
    if (__builtin_mul_overflow(product, std::max<std::int64_t>(shape.back(), 1), &product)) {
      fail_tensor("has a shape whose product overflows");
    }
  }
  return shape;
}

SafetensorsEntry read_entry(const fs::path& path, const std::string& name, const json& value, std::size_t data_size) {
  const std::function<void(std::string_view)> fail_tensor = [&](std::string_view problem) {
    fail(path, fmt::format("tensor '{}' {}", name, problem));
  };
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    fail_tensor("does not have exactly dtype, shape and data_offsets");
  }
  if (!value["dtype"].is_string()) fail_tensor("has a dtype that is not a string");
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    fail_tensor("has data_offsets that are not two numbers");
  }
  SafetensorsEntry entry{value["dtype"].get<std::string>(), read_shape(value["shape"], fail_tensor),
                         offsets[0].get<std::size_t>(), offsets[1].get<std::size_t>()};
  if (entry.begin > entry.end || entry.end > data_size) {
    fail_tensor(fmt::format("has data_offsets [{}, {}] outside the file's {} bytes of data", entry.begin, entry.end,
                            data_size));
  }
  const std::optional<std::size_t> element_size = bytes_per_element(entry.dtype);
  if (!element_size) fail_tensor(fmt::format("has the unknown dtype '{}'", entry.dtype));
  std::size_t bytes = *element_size;
  for (const std::int64_t size : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(size), &bytes)) {
      fail_tensor("has a shape whose product overflows");
    }
  }
  if (bytes != entry.end - entry.begin) {
    fail_tensor(fmt::format("has {} bytes of data, but its shape [{}] of {} needs {}", entry.end - entry.begin,
                            fmt::join(entry.shape, ", "), entry.dtype, bytes));
  }
  return entry;
}

void check_metadata(const fs::path& path, const json& metadata) {
  const bool valid = metadata.is_object() &&
                     std::all_of(metadata.begin(), metadata.end(), [](const json& value) { return value.is_string(); });
  if (!valid) fail(path, "its __metadata__ is not a map from text to text");
}

void check_no_holes(const fs::path& path, const std::map<std::string, SafetensorsEntry>& entries,
                    std::size_t data_size) {
  std::vector<std::pair<std::size_t, std::size_t>> ranges;
  for (const auto& [name, entry] : entries) ranges.emplace_back(entry.begin, entry.end);
  std::sort(ranges.begin(), ranges.end());
  std::size_t expected = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != expected) fail(path, fmt::format("its tensors leave a hole or overlap at byte {} of the data", begin));
    expected = end;
  }
  if (expected != data_size) {
    fail(path, fmt::format("its tensors cover {} bytes, but the file holds {} bytes of data", expected, data_size));
  }
}

std::optional<at::ScalarType> floating_type(std::string_view dtype) {
  if (dtype == "F32") return at::kFloat;
  if (dtype == "F16") return at::kHalf;
  if (dtype == "BF16") return at::kBFloat16;
  if (dtype == "F64") return at::kDouble;
  return std::nullopt;
}

}  // namespace

SafetensorsFile::Mapping::Mapping(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error(ExitCode::model, fmt::format("cannot open '{}': {}", path.string(), std::strerror(errno)));
  struct stat status {};
  const bool regular = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  size = regular ? static_cast<std::size_t>(status.st_size) : 0;
  void* address = size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  const int error = errno;
  ::close(fd);
  if (size == 0) fail(path, regular ? "it is empty" : "it is not a regular file");
  if (address == MAP_FAILED) {
    throw Error(ExitCode::model, fmt::format("cannot map '{}': {}", path.string(), std::strerror(error)));
  }
  data = static_cast<const std::byte*>(address);
}

SafetensorsFile::Mapping::~Mapping() {
  ::munmap(const_cast<std::byte*>(data), size);
}

SafetensorsFile::SafetensorsFile(fs::path path)
    : path_(std::move(path)), mapping_(std::make_shared<const Mapping>(path_)) {
  std::uint64_t header_size = 0;
  if (mapping_->size < sizeof(header_size)) fail(path_, "it is shorter than 8 bytes");
  std::memcpy(&header_size, mapping_->data, sizeof(header_size));
  if (header_size > max_header_size) fail(path_, fmt::format("its header claims {} bytes", header_size));
  if (header_size > mapping_->size - sizeof(header_size)) {
    fail(path_, fmt::format("its header of {} bytes does not fit into the file's {}", header_size, mapping_->size));
  }
  data_begin_ = sizeof(header_size) + header_size;
  const std::string_view text(reinterpret_cast<const char*>(mapping_->data) + sizeof(header_size), header_size);
  if (!text.starts_with('{')) fail(path_, "its header does not start with '{'");

  const std::size_t data_size = mapping_->size - data_begin_;
  constexpr int max_depth = 3;  // header, tensor, shape
  const json header = parse_json(text, fmt::format("the header of '{}'", path_.string()), max_depth);
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      check_metadata(path_, value);
    } else {
      entries_.emplace(name, read_entry(path_, name, value, data_size));
    }
  }
  check_no_holes(path_, entries_, data_size);
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    throw Error(ExitCode::model, fmt::format("'{}' has no tensor '{}'", path_.string(), name));
  }
  const SafetensorsEntry& entry = found->second;
  const std::optional<at::ScalarType> type = floating_type(entry.dtype);
  if (!type) {
    throw Error(ExitCode::model, fmt::format("tensor '{}' of '{}' has dtype {}, not one of F32, F16, BF16, F64", name,
                                             path_.string(), entry.dtype));
  }
  const std::byte* data = mapping_->data + data_begin_ + entry.begin;
  if (reinterpret_cast<std::uintptr_t>(data) % at::elementSize(*type) == 0) {
    // from_blob takes a mutable pointer even for memory that nobody may write.
    at::Tensor view = at::from_blob(
        const_cast<std::byte*>(data), entry.shape, [mapping = mapping_](void*) mutable { mapping.reset(); }, *type);
    return view.to(at::kFloat);
  }
  at::Tensor copy = at::empty(entry.shape, *type);
  if (copy.numel() > 0) std::memcpy(copy.mutable_data_ptr(), data, entry.end - entry.begin);
  return copy.to(at::kFloat);
}

void save_safetensors(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                      Progress* progress) {
  AtomicFile file(path);
  write_safetensors(file.temporary_path(), tensors, progress);
  file.commit();
}

void write_safetensors(const fs::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       Progress* progress) {
  std::map<std::string, at::Tensor> sorted;
  for (const auto& [name, tensor] : tensors) {
    sorted.emplace(name, tensor.detach().to(at::kCPU, at::kFloat).contiguous());
  }
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::size_t offset = 0;
  for (const auto& [name, tensor] : sorted) {
    header[name] = {
        {"dtype", "F32"}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, offset + tensor.nbytes()}}};
    offset += tensor.nbytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data is aligned for readers that map the file
  const std::uint64_t header_size = text.size();

  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&header_size), sizeof(header_size));
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const auto& [name, tensor] : sorted) {
    out.write(static_cast<const char*>(tensor.const_data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
    if (progress != nullptr) progress->advance();
  }
  out.close();
  if (!out) {
    throw Error(ExitCode::output, fmt::format("cannot write '{}': {}", path.string(), std::strerror(errno)),
                "check that the folder exists, that you may write there and that the disk is not full");
  }
}

}  // namespace bertdist
