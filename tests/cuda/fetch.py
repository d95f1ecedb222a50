"""fetch.py FOLDER: downloads the wheels of requirements.txt and unpacks into FOLDER what compiling and linking need.

What is there from an earlier run is left alone. The CUDA libraries that torch loads besides (cuBLAS, cuDNN, ...) are
gigabytes, and nothing on a CPU calls them: FOLDER/stubs holds empty libraries of their names.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
TORCH_PARTS = ("torch/include/", "torch/version.py", "torch/lib/libtorch.so", "torch/lib/libtorch_cpu.so",
               "torch/lib/libtorch_cuda.so", "torch/lib/libtorch_nvshmem.so", "torch/lib/libc10", "torch/lib/libgomp")


def unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith((*TORCH_PARTS, "nvidia/")):
                archive.extract(name, folder)


def dynamic_names(library: Path, tag: str) -> set[str]:
    listing = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
    return set(re.findall(rf"\({tag}\).*\[(.*)\]", listing))


def make_stubs(folder: Path) -> None:
    libraries = list(folder.glob("torch/lib/*.so*"))
    there = {library.name for library in folder.glob("**/*.so*")}
    needed = set().union(*(dynamic_names(library, "NEEDED") for library in libraries)) - there
    system = subprocess.run(["ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    (folder / "stubs").mkdir()
    for name in needed:
        # One that a system has (libc, libstdc++; with a CUDA toolkit also cuBLAS) serves better.
        if f"{name} " in system:
            continue
        subprocess.run(["g++", "-shared", f"-Wl,-soname,{name}", "-o", folder / "stubs" / name, "-x", "c++", "/dev/null"],
                       check=True)


def main(folder: Path) -> None:
    stamp = hashlib.sha256(REQUIREMENTS.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    if (folder / stamp).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    print(f"==> downloading a CUDA build of torch and NCCL (700 MB) into {folder.name}", flush=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
                    "--no-deps", "--dest", partial / "wheels", "--requirement", REQUIREMENTS], check=True)
    for wheel in (partial / "wheels").iterdir():
        unpack(wheel, partial)
    shutil.rmtree(partial / "wheels")
    if not (partial / "torch/lib/libtorch_cuda.so").exists():
        sys.exit("error: pip downloaded a CPU build of torch\nhint: pip prefers a '+cpu' version where its settings offer one")
    make_stubs(partial)
    (partial / stamp).touch()
    partial.rename(folder)


main(Path(sys.argv[1]))
