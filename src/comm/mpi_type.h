#pragma once

#include <mpi.h>

#include <cstdint>

#include "base/error.h"
#include "comm/communicator.h"

namespace bertdist {

template <typename T>
MPI_Datatype mpi_type();  // in which values travel
template <>
inline MPI_Datatype mpi_type<float>() {
  return MPI_FLOAT;
}
template <>
inline MPI_Datatype mpi_type<double>() {
  return MPI_DOUBLE;
}
template <>
inline MPI_Datatype mpi_type<std::int64_t>() {
  return MPI_INT64_T;
}
template <>
inline MPI_Datatype mpi_type<Bfloat16>() {
  return MPI_UINT16_T;
}

// Throws Error(internal) for a type that MPI cannot compare.
inline MPI_Datatype type_with_order(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return mpi_type<float>();
    case DType::float64:
      return mpi_type<double>();
    case DType::int64:
      return mpi_type<std::int64_t>();
    case DType::bfloat16:
      break;
  }
  throw Error(ExitCode::internal, "a maximum is of float32, float64 or int64");
}

}  // namespace bertdist
