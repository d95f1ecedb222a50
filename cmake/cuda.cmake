# The CUDA build: what it takes from NVIDIA, and torch's CUDA libraries. Nothing is compiled by nvcc.
#
# pip puts NVIDIA's packages beside torch (nvidia/*/include, nvidia/*/lib), without the links that a linker looks for; a
# CUDA toolkit, or NCCL installed for the whole system, serves as well.
if(NOT EXISTS ${BERTDIST_TORCH_DIR}/lib/libtorch_cuda.so)
  message(FATAL_ERROR "The torch in '${BERTDIST_TORCH_DIR}' is a CPU build: it has no lib/libtorch_cuda.so; run "
                      "./launcher/setup --cuda, or name a CUDA build with -DBERTDIST_TORCH_DIR=DIR")
endif()

file(GLOB NVIDIA_PACKAGES ${BERTDIST_TORCH_DIR}/../nvidia/cu* ${BERTDIST_TORCH_DIR}/../nvidia/cuda_runtime
                          ${BERTDIST_TORCH_DIR}/../nvidia/nccl)
set(NVIDIA_HINTS ${NVIDIA_PACKAGES} $ENV{CUDA_HOME} /usr/local/cuda)
find_path(CUDART_INCLUDE_DIR cuda_runtime_api.h HINTS ${NVIDIA_HINTS} PATH_SUFFIXES include REQUIRED)
# What these headers include is in packages of its own: nvidia-cuda-crt and nvidia-cuda-cccl.
find_path(CUDA_CRT_INCLUDE_DIR crt/host_defines.h HINTS ${NVIDIA_HINTS} PATH_SUFFIXES include REQUIRED)
find_path(CUDA_CCCL_INCLUDE_DIR nv/target HINTS ${NVIDIA_HINTS} PATH_SUFFIXES include include/cccl REQUIRED)
# Folder by folder, so that torch's own come before those of a toolkit of another version.
find_library(CUDART_LIBRARY NAMES cudart libcudart.so.13 libcudart.so.12 NAMES_PER_DIR HINTS ${NVIDIA_HINTS}
             PATH_SUFFIXES lib lib64 REQUIRED)
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${NVIDIA_HINTS} PATH_SUFFIXES include REQUIRED)
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 NAMES_PER_DIR HINTS ${NVIDIA_HINTS} PATH_SUFFIXES lib REQUIRED)

add_library(cudart INTERFACE)
target_include_directories(cudart SYSTEM INTERFACE ${CUDART_INCLUDE_DIR} ${CUDA_CRT_INCLUDE_DIR} ${CUDA_CCCL_INCLUDE_DIR})
target_link_libraries(cudart INTERFACE ${CUDART_LIBRARY})
add_library(nccl INTERFACE)
target_include_directories(nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
target_link_libraries(nccl INTERFACE ${NCCL_LIBRARY} cudart)

get_filename_component(CUDART_LIBRARY_DIR ${CUDART_LIBRARY} DIRECTORY)
get_filename_component(NCCL_LIBRARY_DIR ${NCCL_LIBRARY} DIRECTORY)
list(APPEND CMAKE_INSTALL_RPATH ${CUDART_LIBRARY_DIR} ${NCCL_LIBRARY_DIR})

# Nothing names a symbol of torch_cuda: its operators register themselves when it is loaded. What it needs in turn
# (cuBLAS, cuDNN, ...) need not be there to link.
target_link_libraries(torch INTERFACE -Wl,--no-as-needed torch_cuda c10_cuda -Wl,--as-needed)
target_link_options(torch INTERFACE -Wl,--allow-shlib-undefined)
