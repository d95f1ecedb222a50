#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/progress.h"

namespace bertdist {

struct SafetensorsEntry {
  std::string dtype;  // the format's name, such as "F32"
  std::vector<std::int64_t> shape;
  std::size_t begin;  // bytes, counted from the end of the header
  std::size_t end;
};

// A .safetensors file, mapped read-only. The whole header is checked when it is opened: afterwards every entry lies
// within the file and its bytes are exactly those of its shape.
class SafetensorsFile {
 public:
  // Throws Error(model) that names the file and what is wrong with it.
  explicit SafetensorsFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }

  // As float32 on the CPU, from F32, F16, BF16 or F64; Error(model) for another dtype or an unknown name. F32 is a view
  // on the mapping where its bytes are aligned: never write to it. The view keeps the mapping, but not the file's
  // content, alive: truncating the file meanwhile takes the memory away.
  at::Tensor tensor(const std::string& name) const;

 private:
  struct Mapping {
    const std::byte* data = nullptr;
    std::size_t size = 0;
    explicit Mapping(const std::filesystem::path& path);
    ~Mapping();
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
  };

  std::filesystem::path path_;
  std::shared_ptr<const Mapping> mapping_;
  std::size_t data_begin_ = 0;  // bytes from the start of the file
  std::map<std::string, SafetensorsEntry> entries_;
};

// Writes float32 tensors with the metadata that transformers asks for, whole or not at all. Throws Error(output).
// `progress` may be null where no other rank waits.
void save_safetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                      Progress* progress = nullptr);
// The same into the folder of an AtomicDirectory, whose commit() makes it whole.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors, Progress* progress = nullptr);

}  // namespace bertdist
