#pragma once

#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bertdist {

// A call of the HDF5 library that failed; callers turn it into an Error that says what that means for the user.
class Hdf5Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Owns an HDF5 identifier of any kind.
class Hdf5Id {
 public:
  using Close = herr_t (*)(hid_t);
  // Throws Hdf5Failure naming `action` where `id` is invalid.
  Hdf5Id(hid_t id, Close close_id, const std::string& action);
  ~Hdf5Id();
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Id& operator=(Hdf5Id&&) = delete;
  Hdf5Id(const Hdf5Id&) = delete;

  hid_t get() const { return id_; }
  // Closes now, so that a failure (a full disk) is not lost. Throws Hdf5Failure.
  void close(const std::string& action);

 private:
  hid_t id_;
  Close close_;
};

// Files in the format of HDF5 1.10, in which the metadata is checksummed too. The same calls give the same bytes: no
// times are stored. HDF5's own error messages are switched off.
Hdf5Id create_hdf5_file(const std::filesystem::path& path);
Hdf5Id open_hdf5_file(const std::filesystem::path& path);

template <typename T>
hid_t hdf5_type();
template <>
inline hid_t hdf5_type<std::uint8_t>() {
  return H5T_NATIVE_UINT8;
}
template <>
inline hid_t hdf5_type<std::uint16_t>() {
  return H5T_NATIVE_UINT16;
}
template <>
inline hid_t hdf5_type<std::uint32_t>() {
  return H5T_NATIVE_UINT32;
}
template <>
inline hid_t hdf5_type<std::uint64_t>() {
  return H5T_NATIVE_UINT64;
}
template <>
inline hid_t hdf5_type<std::int64_t>() {
  return H5T_NATIVE_INT64;
}

void write_attribute(const Hdf5Id& file, const std::string& name, const std::string& value);
void write_attribute(const Hdf5Id& file, const std::string& name, std::int64_t value);
bool has_attribute(const Hdf5Id& file, const std::string& name);
std::string read_string_attribute(const Hdf5Id& file, const std::string& name);
std::int64_t read_integer_attribute(const Hdf5Id& file, const std::string& name);

// Number of elements of a one-dimensional data set.
std::uint64_t dataset_size(const Hdf5Id& file, const std::string& name);
std::size_t dataset_element_size(const Hdf5Id& file, const std::string& name);
void read_dataset(const Hdf5Id& file, const std::string& name, hid_t type, std::uint64_t size, void* values);

template <typename T>
std::vector<T> read_dataset(const Hdf5Id& file, const std::string& name) {
  std::vector<T> values(dataset_size(file, name));
  read_dataset(file, name, hdf5_type<T>(), values.size(), values.data());
  return values;
}

// A one-dimensional data set of known size, in one piece of the file: whoever knows where that begins reads it without
// HDF5. It has no checksums.
class ContiguousDataset {
 public:
  ContiguousDataset(const Hdf5Id& file, const std::string& name, std::uint64_t size);

  void write(std::uint64_t first, std::span<const float> values);
  void finish();

  // Where the float32 data set begins, in bytes from the file's beginning.
  static std::uint64_t offset(const Hdf5Id& file, const std::string& name);

 private:
  std::string name_;
  Hdf5Id dataset_;
};

// A one-dimensional data set that grows, with fletcher32 checksums. It is written in whole chunks, so that the file's
// bytes depend only on the order of the values, not on how they were handed over.
template <typename T>
class GrowingDataset {
 public:
  using value_type = T;

  GrowingDataset(const Hdf5Id& file, const std::string& name);

  void append(T value) {
    buffer_.push_back(value);
    if (buffer_.size() == kChunkSize) flush();
  }
  void append(std::span<const T> values);
  // Writes what is left and closes. Nothing may be appended after it.
  void finish();

 private:
  static constexpr std::size_t kChunkSize = (std::size_t{128} << 10) / sizeof(T);
  void flush();
  void write(std::span<const T> values);

  std::string name_;
  Hdf5Id dataset_;
  std::vector<T> buffer_;
  std::uint64_t size_ = 0;
};

extern template class GrowingDataset<std::uint8_t>;
extern template class GrowingDataset<std::uint16_t>;
extern template class GrowingDataset<std::uint32_t>;
extern template class GrowingDataset<std::uint64_t>;
extern template class GrowingDataset<std::int64_t>;

}  // namespace bertdist
