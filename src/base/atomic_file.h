#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace bertdist {

// Files and folders that exist whole or not at all, whatever happens to the process or the machine in between: written
// under a temporary name beside the target, fsynced, renamed. Every failure is an Error(output).

void write_file_atomically(const std::filesystem::path& target, std::string_view content);
// Neither fsynced nor renamed: for files in the folder of an AtomicDirectory, whose commit() sees to that for all.
void write_file(const std::filesystem::path& path, std::string_view content);

// A temporary path beside `target` for a writer of its own (HDF5, a stream); commit() puts it in the target's place.
// Without commit() the destructor removes it.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& temporary_path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

// The same for a folder. commit() exchanges it with one that already stands at the target, so that a whole folder is
// there at every moment, where the file system can do so.
class AtomicDirectory {
 public:
  explicit AtomicDirectory(std::filesystem::path target);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::filesystem::path& temporary_path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

// Removes the folder, which from the beginning of its removal on is known by a temporary name alone.
void remove_directory_atomically(const std::filesystem::path& path);

// Creates the folder and its parents.
void make_directories(const std::filesystem::path& path);

}  // namespace bertdist
