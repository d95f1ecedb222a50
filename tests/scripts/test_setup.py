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
        (["--cuda"], "not yet supported"),
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
