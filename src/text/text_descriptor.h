#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <span>
#include <string>

namespace bertdist {

// Throws the Error(data) that reading would throw where there is no such file or it may not be read, without reading
// any of it: what comes through a pipe comes only once.
void require_readable(const std::filesystem::path& path);

// A text file open for reading, or the standard input ("-").
class TextDescriptor {
 public:
  // Throws Error(data) where there is no such file, or it cannot be read.
  explicit TextDescriptor(const std::filesystem::path& path);

  int get() const { return file_.descriptor; }
  const struct stat& status() const { return status_; }
  bool is_regular_file() const { return S_ISREG(status_.st_mode); }
  // The next bytes, as many as there are; 0 at the end. Throws Error(data).
  std::size_t read(std::span<char> bytes) const;

 private:
  struct File {
    int descriptor;
    bool owned;
    File(int file_descriptor, bool is_owned) : descriptor(file_descriptor), owned(is_owned) {}
    ~File();
    File(const File&) = delete;
    File& operator=(const File&) = delete;
  };

  std::filesystem::path path_;
  File file_;
  struct stat status_ {};
};

std::string text_name(const std::filesystem::path& path);  // for messages
[[noreturn]] void fail_to_read(const std::filesystem::path& path, int error);

}  // namespace bertdist
