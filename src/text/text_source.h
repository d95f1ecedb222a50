#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "text/text_descriptor.h"

namespace bertdist {

// The bytes of a text file. A regular file is mapped, so that memory does not grow with it; a pipe or a device is read
// whole into memory. Safe to read from several threads.
class TextSource {
 public:
  // Throws Error(data) where there is no such file, or it cannot be read.
  explicit TextSource(const std::filesystem::path& path);
  ~TextSource();
  TextSource(TextSource&& other) noexcept;
  TextSource& operator=(TextSource&&) = delete;
  TextSource(const TextSource&) = delete;

  std::string_view bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }
  std::string name() const { return text_name(path_); }

  // Lets the system take back the memory of a part that was read; reading it again is allowed, and slow.
  void release(std::size_t begin, std::size_t end) const;
  // Throws Error(data) where the file is no longer the one that was opened.
  void require_unchanged() const;

 private:
  void read_all(const TextDescriptor& file);

  std::filesystem::path path_;
  std::string_view bytes_;
  std::string content_;     // holds the bytes that are not mapped
  void* mapped_ = nullptr;  // the mapping, owned
  std::int64_t modified_ns_ = 0;
};

}  // namespace bertdist
