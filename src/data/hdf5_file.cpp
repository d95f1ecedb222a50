#include "data/hdf5_file.h"

#include <fmt/core.h>

#include <algorithm>

namespace bertdist {

namespace {

void check(herr_t status, const std::string& action) {
  if (status < 0) throw Hdf5Failure("cannot " + action);
}

Hdf5Id file_access() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "set up HDF5");
  check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110), "set up HDF5");
  // Where the file system has no locks (some NFS and Lustre mounts) go on without them.
  check(H5Pset_file_locking(access.get(), 1, 1), "set up HDF5");
  return access;
}

Hdf5Id open_dataset(const Hdf5Id& file, const std::string& name) {
  return {H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), H5Dclose, fmt::format("find '{}'", name)};
}

Hdf5Id string_type(std::size_t size) {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "make a string type");
  check(H5Tset_size(type.get(), std::max<std::size_t>(size, 1)), "make a string type");
  check(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "make a string type");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "make a string type");
  return type;
}

void write_attribute(const Hdf5Id& file, const std::string& name, const Hdf5Id& type, const void* value) {
  const std::string action = fmt::format("write attribute '{}'", name);
  const Hdf5Id space(H5Screate(H5S_SCALAR), H5Sclose, action);
  const Hdf5Id attribute(H5Acreate2(file.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, action);
  check(H5Awrite(attribute.get(), type.get(), value), action);
}

Hdf5Id open_attribute(const Hdf5Id& file, const std::string& name) {
  return {H5Aopen(file.get(), name.c_str(), H5P_DEFAULT), H5Aclose, fmt::format("find attribute '{}'", name)};
}

template <typename T>
Hdf5Id create_dataset(const Hdf5Id& file, const std::string& name, hsize_t chunk_size) {
  const std::string action = fmt::format("create '{}'", name);
  const hsize_t size = 0;
  const hsize_t max_size = H5S_UNLIMITED;
  const Hdf5Id space(H5Screate_simple(1, &size, &max_size), H5Sclose, action);
  const Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, action);
  check(H5Pset_chunk(properties.get(), 1, &chunk_size), action);
  check(H5Pset_fletcher32(properties.get()), action);
  check(H5Pset_obj_track_times(properties.get(), 0), action);
  return {H5Dcreate2(file.get(), name.c_str(), hdf5_type<T>(), space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT),
          H5Dclose, action};
}

}  // namespace

Hdf5Id::Hdf5Id(hid_t id, Close close_id, const std::string& action) : id_(id), close_(close_id) {
  if (id_ < 0) throw Hdf5Failure("cannot " + action);
}

Hdf5Id::~Hdf5Id() {
  if (id_ >= 0) close_(id_);
}

void Hdf5Id::close(const std::string& action) {
  check(close_(std::exchange(id_, -1)), action);
}

Hdf5Id create_hdf5_file(const std::filesystem::path& path) {
  const Hdf5Id access = file_access();
  const Hdf5Id creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "set up HDF5");
  check(H5Pset_obj_track_times(creation.get(), 0), "set up HDF5");
  return {H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), H5Fclose, "create the file"};
}

Hdf5Id open_hdf5_file(const std::filesystem::path& path) {
  const Hdf5Id access = file_access();
  return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose, "open it as an HDF5 file"};
}

void write_attribute(const Hdf5Id& file, const std::string& name, const std::string& value) {
  write_attribute(file, name, string_type(value.size()), value.c_str());
}

void write_attribute(const Hdf5Id& file, const std::string& name, std::int64_t value) {
  write_attribute(file, name, Hdf5Id(H5Tcopy(H5T_STD_I64LE), H5Tclose, "make an integer type"), &value);
}

bool has_attribute(const Hdf5Id& file, const std::string& name) {
  return H5Aexists(file.get(), name.c_str()) > 0;
}

std::string read_string_attribute(const Hdf5Id& file, const std::string& name) {
  const std::string action = fmt::format("read attribute '{}'", name);
  const Hdf5Id attribute = open_attribute(file, name);
  const Hdf5Id stored(H5Aget_type(attribute.get()), H5Tclose, action);
  if (H5Tget_class(stored.get()) != H5T_STRING || H5Tis_variable_str(stored.get()) != 0) {
    throw Hdf5Failure("cannot " + action);
  }
  std::string value(H5Tget_size(stored.get()), '\0');
  check(H5Aread(attribute.get(), stored.get(), value.data()), action);
  value.resize(std::min(value.size(), value.find('\0')));
  return value;
}

std::int64_t read_integer_attribute(const Hdf5Id& file, const std::string& name) {
  std::int64_t value = 0;
  check(H5Aread(open_attribute(file, name).get(), H5T_NATIVE_INT64, &value), fmt::format("read attribute '{}'", name));
  return value;
}

std::uint64_t dataset_size(const Hdf5Id& file, const std::string& name) {
  const Hdf5Id dataset = open_dataset(file, name);
  const std::string action = fmt::format("read the size of '{}'", name);
  const Hdf5Id space(H5Dget_space(dataset.get()), H5Sclose, action);
  hsize_t size = 0;
  if (H5Sget_simple_extent_ndims(space.get()) != 1 || H5Sget_simple_extent_dims(space.get(), &size, nullptr) != 1) {
    throw Hdf5Failure("cannot " + action);
  }
  return size;
}

std::size_t dataset_element_size(const Hdf5Id& file, const std::string& name) {
  const Hdf5Id dataset = open_dataset(file, name);
  const Hdf5Id type(H5Dget_type(dataset.get()), H5Tclose, fmt::format("read the type of '{}'", name));
  return H5Tget_size(type.get());
}

void read_dataset(const Hdf5Id& file, const std::string& name, hid_t type, std::uint64_t size, void* values) {
  const Hdf5Id dataset = open_dataset(file, name);
  if (size == 0) return;
  check(H5Dread(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), fmt::format("read '{}'", name));
}

ContiguousDataset::ContiguousDataset(const Hdf5Id& file, const std::string& name, std::uint64_t size)
    : name_(name), dataset_([&]() -> Hdf5Id {
        const std::string action = fmt::format("create '{}'", name);
        const hsize_t extent = size;
        const Hdf5Id space(H5Screate_simple(1, &extent, nullptr), H5Sclose, action);
        const Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, action);
        check(H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY), action);
        check(H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER), action);
        check(H5Pset_obj_track_times(properties.get(), 0), action);
        return {H5Dcreate2(file.get(), name.c_str(), H5T_IEEE_F32LE, space.get(), H5P_DEFAULT, properties.get(),
                           H5P_DEFAULT),
                H5Dclose, action};
      }()) {}

void ContiguousDataset::write(std::uint64_t first, std::span<const float> values) {
  const std::string action = fmt::format("write '{}'", name_);
  const hsize_t begin = first;
  const hsize_t count = values.size();
  const Hdf5Id file_space(H5Dget_space(dataset_.get()), H5Sclose, action);
  check(H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, &begin, nullptr, &count, nullptr), action);
  const Hdf5Id memory_space(H5Screate_simple(1, &count, nullptr), H5Sclose, action);
  check(H5Dwrite(dataset_.get(), H5T_NATIVE_FLOAT, memory_space.get(), file_space.get(), H5P_DEFAULT, values.data()),
        action);
}

void ContiguousDataset::finish() {
  dataset_.close(fmt::format("write '{}'", name_));
}

std::uint64_t ContiguousDataset::offset(const Hdf5Id& file, const std::string& name) {
  const Hdf5Id dataset = open_dataset(file, name);
  const haddr_t offset = H5Dget_offset(dataset.get());
  if (offset == HADDR_UNDEF) throw Hdf5Failure(fmt::format("'{}' does not lie in one piece", name));
  return offset;
}

template <typename T>
GrowingDataset<T>::GrowingDataset(const Hdf5Id& file, const std::string& name)
    : name_(name), dataset_(create_dataset<T>(file, name, kChunkSize)) {
  buffer_.reserve(kChunkSize);
}

template <typename T>
void GrowingDataset<T>::append(std::span<const T> values) {
  while (!values.empty()) {
    if (buffer_.empty() && values.size() >= kChunkSize) {
      write(values.first(kChunkSize));
      values = values.subspan(kChunkSize);
      continue;
    }
    const std::span<const T> fitting = values.first(std::min(values.size(), kChunkSize - buffer_.size()));
    buffer_.insert(buffer_.end(), fitting.begin(), fitting.end());
    if (buffer_.size() == kChunkSize) flush();
    values = values.subspan(fitting.size());
  }
}

template <typename T>
void GrowingDataset<T>::flush() {
  if (buffer_.empty()) return;
  write(buffer_);
  buffer_.clear();
}

// One chunk, or less at the end.
template <typename T>
void GrowingDataset<T>::write(std::span<const T> values) {
  const std::string action = fmt::format("write '{}'", name_);
  const hsize_t begin = size_;
  const hsize_t count = values.size();
  size_ += count;
  const hsize_t size = size_;
  check(H5Dset_extent(dataset_.get(), &size), action);
  const Hdf5Id file_space(H5Dget_space(dataset_.get()), H5Sclose, action);
  check(H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, &begin, nullptr, &count, nullptr), action);
  const Hdf5Id memory_space(H5Screate_simple(1, &count, nullptr), H5Sclose, action);
  check(H5Dwrite(dataset_.get(), hdf5_type<T>(), memory_space.get(), file_space.get(), H5P_DEFAULT, values.data()),
        action);
}

template <typename T>
void GrowingDataset<T>::finish() {
  flush();
  dataset_.close(fmt::format("write '{}'", name_));
}

template class GrowingDataset<std::uint8_t>;
template class GrowingDataset<std::uint16_t>;
template class GrowingDataset<std::uint32_t>;
template class GrowingDataset<std::uint64_t>;
template class GrowingDataset<std::int64_t>;

}  // namespace bertdist
