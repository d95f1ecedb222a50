// Writes docs/configuration.md from the options table: write_configuration FILE

#include <cstdio>
#include <exception>

#include "base/atomic_file.h"
#include "config/config.h"

int main(int argc, char** argv) {
  try {
    if (argc != 2) {
      std::fprintf(stderr, "usage: write_configuration docs/configuration.md\n");
      return 2;
    }
    bertdist::write_file_atomically(argv[1], bertdist::configuration_markdown());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
