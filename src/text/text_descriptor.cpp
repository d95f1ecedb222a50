#include "text/text_descriptor.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace bertdist {

namespace {

void require_no_folder(const struct stat& status, const std::filesystem::path& path) {
  if (!S_ISDIR(status.st_mode)) return;
  throw Error(ExitCode::data, fmt::format("'{}' is a folder, not a file", text_name(path)));
}

}  // namespace

std::string text_name(const std::filesystem::path& path) {
  return path == "-" ? "standard input" : path.string();
}

void fail_to_read(const std::filesystem::path& path, int error) {
  const char* hint = error == ENOENT   ? "check the path; a relative one starts at the folder that bertdist runs in"
                     : error == EACCES ? "the user that runs bertdist may not read it"
                                       : "";
  const std::string place =
      path.is_relative() && path != "-" ? fmt::format(" (looked at {})", std::filesystem::absolute(path).string()) : "";
  throw Error(ExitCode::data, fmt::format("cannot read '{}': {}{}", text_name(path), std::strerror(error), place),
              hint);
}

void require_readable(const std::filesystem::path& path) {
  struct stat status {};
  if (::access(path.c_str(), R_OK) != 0 || ::stat(path.c_str(), &status) != 0) fail_to_read(path, errno);
  require_no_folder(status, path);
}

TextDescriptor::TextDescriptor(const std::filesystem::path& path)
    : path_(path), file_(path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC), path != "-") {
  if (get() < 0 || ::fstat(get(), &status_) != 0) fail_to_read(path, errno);
  require_no_folder(status_, path);
}

TextDescriptor::File::~File() {
  if (owned && descriptor >= 0) ::close(descriptor);
}

std::size_t TextDescriptor::read(std::span<char> bytes) const {
  for (;;) {
    const ssize_t count = ::read(get(), bytes.data(), bytes.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR) fail_to_read(path_, errno);
  }
}

}  // namespace bertdist
