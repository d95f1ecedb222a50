"""launcher/setup on a machine of stand-ins: what it would install and build, and that it does so once."""

import pytest

from scripts.machine import Machine


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def programs(machine):
    return [call.split()[0] for call in machine.calls()]


def test_a_first_run_installs_and_builds_and_a_second_does_not_again(machine):
    first = machine.run("launcher/setup", "--jobs", "1")
    assert first.returncode == 0, first.stderr
    assert programs(machine) == ["apt-get", "apt-get", "python3", "python3", "python", "cmake", "ninja"]
    assert (machine.project / "bin" / "bertdist").is_symlink()

    machine.install_all_packages()
    second = machine.run("launcher/setup", "--jobs", "1")
    assert second.returncode == 0, second.stderr
    assert programs(machine) == ["ninja"]


def test_the_test_tools_come_with_with_tests_only(machine):
    machine.run("launcher/setup")
    assert not any("libgtest-dev" in call or "tests/requirements.txt" in call for call in machine.calls())
    machine.run("launcher/setup", "--with-tests")
    assert any("libgtest-dev" in call for call in machine.calls())
    assert any("tests/requirements.txt" in call for call in machine.calls())
    assert any("-DBERTDIST_BUILD_TESTS=ON" in call for call in machine.calls())
    machine.install_all_packages()
    machine.run("launcher/setup", "--with-tests")
    assert programs(machine) == ["ninja"]


CPU_WHEELS = "https://download.pytorch.org/whl/cpu"


@pytest.mark.parametrize("answers", [True, False])
def test_torch_comes_from_pytorchs_index_of_cpu_wheels_where_it_answers(machine, answers):
    python = (machine.folder / "bin" / "python3").read_text()
    # Asked whether the index answers: python3 -c PROGRAM URL
    asked = f"if [[ $1 == -c ]]; then [[ $3 == {CPU_WHEELS}/torch/ ]] && exit {int(not answers)}; exit 2; fi\n"
    machine.add_program("python3", asked + python.partition("log\"\n")[2])
    result = machine.run("launcher/setup")
    assert result.returncode == 0, result.stderr
    (pip,) = [call for call in machine.calls() if call.startswith("python -m pip install")]
    assert pip.endswith("-r " + str(machine.project / "launcher" / "requirements.txt"))
    assert (f" --extra-index-url {CPU_WHEELS} " in pip) == answers
    assert ("CPU wheels does not answer; taking what pip offers" in result.stdout) == (not answers)
    if not answers:
        assert "index-url" not in pip


def test_other_requirements_are_installed(machine):
    machine.run("launcher/setup", "--with-tests")
    with open(machine.project / "tests" / "requirements.txt", "a") as file:
        file.write("another==1.0\n")
    machine.run("launcher/setup", "--with-tests")
    assert any("tests/requirements.txt" in call for call in machine.calls())


def test_another_torch_version_is_installed(machine):
    machine.run("launcher/setup")
    (machine.project / "launcher" / "requirements.txt").write_text("torch==2.14.0\n")
    machine.run("launcher/setup")
    assert any("launcher/requirements.txt" in call for call in machine.calls())


def test_an_ordinary_user_installs_packages_with_sudo(machine):
    machine.set_user_id(1000)
    machine.run("launcher/setup")
    apt_calls = [call for call in machine.calls() if "apt-get" in call]
    assert any(call.startswith("sudo apt-get update") for call in apt_calls)
    assert any(call.startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get install") for call in apt_calls)


def test_no_apt_and_torch_of_ones_own(machine, tmp_path):
    (tmp_path / "libtorch" / "lib").mkdir(parents=True)
    (tmp_path / "libtorch" / "lib" / "libtorch_cpu.so").touch()
    result = machine.run("launcher/setup", "--no-apt", "--torch", str(tmp_path / "libtorch"))
    assert result.returncode == 0, result.stderr
    assert programs(machine) == ["cmake", "ninja"]
    assert f"-DBERTDIST_TORCH_DIR={tmp_path / 'libtorch'}" in machine.calls()[0]


def test_the_machine_decides_between_cpu_and_cuda(machine):
    assert "no NVIDIA GPU: building for CPUs" in machine.run("launcher/setup").stdout
    assert [call for call in machine.calls() if "--preset" in call][0].startswith("cmake --preset cpu -B build/cpu")

    machine.add_program("nvidia-smi", "")
    (machine.folder / "wheel").write_text("2.13.0+cu130 13.0\n")
    done = machine.run("launcher/setup")
    assert done.returncode == 0, done.stderr
    assert "shows an NVIDIA GPU: building for GPUs" in done.stdout
    # To pip, the CPU build that is there is what is asked for.
    pip = [call for call in machine.calls() if call.startswith("python ")]
    assert "uninstall" in pip[0] and pip[0].endswith(" torch")
    assert "requirements.txt" in pip[1] and "whl/cpu" not in pip[1]
    assert pip[2].endswith(" nvidia-cuda-crt==13.0.* nvidia-cuda-cccl==13.0.*")
    assert any(call.startswith("cmake --preset cuda -B build/cuda") for call in machine.calls())
    assert (machine.project / "bin" / "bertdist").readlink().as_posix() == "../build/cuda/bin/bertdist"

    # The CUDA build of torch serves both.
    machine.install_all_packages()
    done = machine.run("launcher/setup", "--cpu")
    assert programs(machine) == ["ninja"] and "shows" not in done.stdout
    assert (machine.project / "bin" / "bertdist").readlink().as_posix() == "../build/cpu/bin/bertdist"


def test_cuda_can_be_asked_for_where_there_is_no_gpu(machine):
    (machine.folder / "wheel").write_text("2.13.0+cu130 13.0\n")
    done = machine.run("launcher/setup", "--cuda")
    assert done.returncode == 0, done.stderr
    assert not any("whl/cpu" in call for call in machine.calls())
    assert any(call.startswith("cmake --preset cuda") for call in machine.calls())


def test_a_cpu_build_of_torch_does_not_serve_cuda(machine, tmp_path):
    done = machine.run("launcher/setup", "--cuda")
    assert done.returncode == 1
    assert "is a CPU build" in done.stderr and "--torch DIR" in done.stderr
    (tmp_path / "libtorch" / "lib").mkdir(parents=True)
    (tmp_path / "libtorch" / "lib" / "libtorch_cpu.so").touch()
    done = machine.run("launcher/setup", "--cuda", "--torch", str(tmp_path / "libtorch"))
    assert done.returncode == 1 and machine.calls() == []
    assert "name a CUDA build, or use --cpu" in done.stderr


def test_a_dry_run_does_nothing(machine):
    result = machine.run("launcher/setup", "--dry-run", "--with-tests")
    assert result.returncode == 0, result.stderr
    assert machine.calls() == []
    for command in ("apt-get install", "pip install", "cmake --preset cpu", "ninja"):
        assert command in result.stdout
    assert not (machine.project / ".venv").exists() and not (machine.project / "bin").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--torch", "/nowhere"], "no libtorch in '/nowhere'"),
        (["--torch"], "--torch needs a value"),
        (["--jobs", "many"], "positive number"),
        (["--frobnicate"], "unknown option '--frobnicate'"),
    ],
)
def test_mistakes_are_told(machine, arguments, message):
    result = machine.run("launcher/setup", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert machine.calls() == []
