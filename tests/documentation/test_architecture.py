"""The table of docs/architecture.md is what CMake links, and folders include what their LINK lines name."""

import re

import pytest
from documentation.project import PROJECT

# The table's names of CMake's targets.
LIBRARIES = {
    "fmt::fmt": "fmt", "nlohmann_json::nlohmann_json": "nlohmann-json", "PkgConfig::XXHASH": "xxHash",
    "MPI::MPI_C": "MPI", "Boost::program_options": "Boost.Program_options", "Boost::headers": "Boost (Random, Math)",
    "PkgConfig::TOMLPLUSPLUS": "toml++", "PkgConfig::UTF8PROC": "utf8proc", "hdf5::hdf5": "HDF5", "torch": "torch",
    "nccl": "NCCL, CUDA runtime"}


def link_lines():
    """{folder: what its library links}, of all folders of src/."""
    found = {}
    for file in (PROJECT / "src").rglob("CMakeLists.txt"):
        for links in re.findall(r"^bertdist_library\(\w+ LINK ([^)]*)\)", file.read_text(), re.MULTILINE):
            found[str(file.parent.relative_to(PROJECT / "src"))] = links.split()
    return found


def table_rows():
    """{folder: (links, libraries)} as the table has them."""
    rows = re.findall(r"^\| `([\w/]+)` \|.*\| (.*?) ?\| (.*?) ?\|$", (PROJECT / "docs" / "architecture.md").read_text(),
                      re.MULTILINE)
    return {folder: (set(links.split(", ")) - {""}, libraries) for folder, links, libraries in rows
            if not folder.endswith("/")}


def test_the_table_is_the_link_lines():
    lines, rows = link_lines(), table_rows()
    assert rows.keys() == lines.keys() and len(rows) >= 14
    for folder, links in lines.items():
        libraries = ", ".join(LIBRARIES[link] for link in links if link in LIBRARIES)
        assert rows[folder] == ({link for link in links if link not in LIBRARIES}, libraries), folder


@pytest.mark.parametrize("folder", sorted(link_lines()))
def test_a_folder_includes_what_it_links(folder):
    allowed = {folder, *link_lines()[folder]}
    for file in (PROJECT / "src" / folder).glob("*.[ch]*"):
        included = {path.rsplit("/", 1)[0] for path in re.findall(r'^#include "([^"]+/[^"]+)"', file.read_text(), re.MULTILINE)}
        assert included <= allowed, file
