# shellcheck shell=bash
# Sourced by tests/gpu/run with the file of tests/gpu/pack: the compiler, CMake, mpirun and Python find what is in it.

unpacked=$root/build/pack
checksum=$(cksum < "$1")
if [[ ! -e $unpacked/.from || $(< "$unpacked/.from") != "$checksum" ]]; then
  say "unpacking $1 into build/pack"
  rm -rf "$unpacked"
  mkdir -p "$unpacked"
  tar -C "$unpacked" -xJf "$1"
  printf '%s\n' "$checksum" > "$unpacked/.from"
fi

system=$unpacked/system/usr
libraries=$system/lib/$(uname -m)-linux-gnu
export PATH=$system/bin:$PATH
for folder in "$unpacked/system/lib/$(uname -m)-linux-gnu" "$system/lib/libpsm1" "$libraries"{,/hdf5/serial,/openmpi/lib}; do
  LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
export CMAKE_PREFIX_PATH=$system CMAKE_INCLUDE_PATH=$system/include/hdf5/serial CMAKE_LIBRARY_PATH=$libraries/hdf5/serial
export PKG_CONFIG_PATH=$libraries/pkgconfig:$system/share/pkgconfig PKG_CONFIG_SYSROOT_DIR=$unpacked/system
export PYTHONPATH=$unpacked/python${PYTHONPATH:+:$PYTHONPATH}
# Where OpenMPI and PMIx look for their plugins and texts.
export OPAL_PREFIX=$system PMIX_PREFIX=$libraries/pmix2
# It would look for this warning's text in /usr.
export PMIX_MCA_pcompress_base_silence_warning=1
# mpirun asks for it even where all ranks are on its own host.
command -v ssh > /dev/null || export OMPI_MCA_plm_rsh_agent=false
export CUDA_HOME=${CUDA_HOME:-$unpacked/cuda}

build_from_pack() {
  local torch
  torch=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent)') ||
    fail "'$python' has no torch" "name with --python one that has a CUDA build of torch"
  # A compiler that nobody tried may warn of more.
  configure_once cuda build/cuda "-DBERTDIST_TORCH_DIR=$torch" "-DBERTDIST_PYTHON=$(command -v "$python")" \
    -DBERTDIST_WARNINGS_AS_ERRORS=OFF
  say "building build/cuda"
  ninja -C build/cuda -j "${jobs:-$(default_jobs)}"
}
