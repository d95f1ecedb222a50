// Preloaded into bertdist, counts what no other program's load changes, and writes it as JSON, {name: times}, into the
// file that STEP_COUNTERS names when the program ends: where COUNT is "operators", each operator that libtorch
// dispatches; otherwise "allocations", how often the program's own code, libtorch's and other libraries' aside, asks
// for memory by `new`. (Not both at once: to be observed, libtorch allocates through functions that it shares with the
// program.)
#include <ATen/record_function.h>
#include <link.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace {

using Operators = std::map<std::string, std::int64_t>;

std::atomic<std::int64_t> num_allocations = 0;
std::mutex mutex;
Operators operators;
std::uintptr_t program_begin = 0;  // where the executable lies
std::uintptr_t program_end = 0;

int find_program(dl_phdr_info* info, std::size_t, void*) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const std::uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    if (program_begin == 0) program_begin = begin;
    program_end = begin + info->dlpi_phdr[i].p_memsz;
  }
  return 1;  // the first object is the executable
}

std::unique_ptr<at::ObserverContext> count_operator(const at::RecordFunction& function) {
  const std::lock_guard lock(mutex);
  ++operators[function.name()];
  return nullptr;
}

bool counts_operators() {
  const char* const what = std::getenv("COUNT");
  return what != nullptr && std::string_view(what) == "operators";
}

struct Counters {
  Counters() {
    if (counts_operators()) {
      at::addGlobalCallback(at::RecordFunctionCallback(count_operator).scopes({at::RecordScope::FUNCTION}));
    } else {
      dl_iterate_phdr(find_program, nullptr);
    }
  }
  ~Counters() {
    if (!counts_operators()) operators = {{"allocations", num_allocations}};
    std::ofstream file(std::getenv("STEP_COUNTERS"));
    char separator = '{';
    for (const auto& [name, times] : operators) {
      file << std::exchange(separator, ',') << '"' << name << "\": " << times;
    }
    file << "}\n";
  }
} counters;

void* allocate(std::size_t size, std::size_t alignment, const void* caller) {
  const auto address = reinterpret_cast<std::uintptr_t>(caller);
  if (address >= program_begin && address < program_end) ++num_allocations;
  void* const memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t), __builtin_return_address(0));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
