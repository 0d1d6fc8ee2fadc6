"""What is on the machine is seen, and what cannot be seen is told as such."""

import socket
from pathlib import Path

import pytest

from bench.simulated.nvml.driver import DRIVER_NOT_LOADED, GPU_IS_LOST, Model, SimulatedDriver
from bench.simulated.waiting import wait_until as until
from device_plugin.doctoring.checks import check_node
from device_plugin.doctoring.facts import NodeFacts
from device_plugin.doctoring.gathering import (
    cgroup_version,
    driver_version,
    gather_node,
    mps_state,
    nvml_gpus,
    patient_nvml_gpus,
    socket_state,
    toolkit_version,
)
from device_plugin.enforcing.mps import MpsControl
from device_plugin.gpus.gpu import NO_ANSWER
from device_plugin.sampling.nvml import load_pynvml
from tests.fakes.mps_control import FakeMpsDaemon


def write(path: Path, text: str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  615.12.03  Tue Sep  1 2026",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  615.12.03  Release Build",
    ],
)
def test_driver_versions(tmp_path: Path, text: str) -> None:
    """Of both kinds of kernel module; empty without one."""
    assert driver_version(tmp_path) == ""
    write(tmp_path / "proc/driver/nvidia/version", text)
    assert driver_version(tmp_path) == "615.12.03"


def test_nvml_and_its_gpus(driver: SimulatedDriver) -> None:
    """A GPU that cannot be asked is shown with its error, and MIG is named."""
    for _ in range(3):
        driver.add(Model())
    first, second, third = driver.gpus
    second.mig = 1
    third.lost = GPU_IS_LOST
    problem, gpus = nvml_gpus(load_pynvml)
    assert (problem, list(gpus.values())[:2]) == ("", ["", "MIG is enabled"])
    assert next(iter(gpus)) == first.uuid.decode()
    assert "GPU is lost" in list(gpus.values())[2]
    driver.state.init_code = DRIVER_NOT_LOADED
    assert nvml_gpus(load_pynvml) == ("NVML cannot be asked: Driver Not Loaded", {})


def test_a_gpu_whose_uuid_is_no_text(driver: SimulatedDriver) -> None:
    """It costs the others nothing."""
    driver.add(Model()).uuid = b"GPU-\xff"
    driver.add(Model()).uuid = b"GPU-b"
    found = nvml_gpus(load_pynvml)
    assert found == ("", {"(index 0)": "NVML does not say its UUID: its answer is no UTF-8 text", "GPU-b": ""})


def test_a_driver_that_hangs_is_found_out(driver: SimulatedDriver) -> None:
    """Instead of hanging, too; the check says what to do."""
    driver.add(Model())
    driver.hang(0, "MIG")
    problem, gpus = patient_nvml_gpus(load_pynvml, 0.2)
    (finding,) = [each for each in check_node(NodeFacts(nvml_problem=problem)) if each.check == "nvml"]
    assert (problem, gpus) == (f"NVML cannot be asked: {NO_ANSWER}", {})
    assert "the driver hangs" in finding.advice
    driver.release()
    assert patient_nvml_gpus(load_pynvml, 10.0) == ("", {driver.gpus[0].uuid.decode(): ""})
    until(lambda: driver.state.sessions == 0)


def test_cgroup_versions(tmp_path: Path) -> None:
    """None, v1 and v2."""
    assert cgroup_version(tmp_path) == 0
    (tmp_path / "sys/fs/cgroup/memory").mkdir(parents=True)
    assert cgroup_version(tmp_path) == 1
    write(tmp_path / "sys/fs/cgroup/cgroup.controllers", "cpu")
    assert cgroup_version(tmp_path) == 2


def test_sockets(folder: Path) -> None:
    """A file in its place is no socket."""
    assert socket_state(folder / "none.sock") == "absent"
    write(folder / "file.sock", "")
    assert socket_state(folder / "file.sock") == "file"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "real.sock"))
        assert socket_state(folder / "real.sock") == "socket"


def test_programs_that_are_not_there(tmp_path: Path) -> None:
    """No version, and no MPS."""
    assert toolkit_version("/nonexistent/nvidia-ctk") == ""
    program = write(tmp_path / "ctk", "#!/bin/sh\necho 'NVIDIA Container Toolkit CLI version 1.20.1'\n")
    program.chmod(0o755)
    assert toolkit_version(str(program)) == "1.20.1"
    assert mps_state(None) == (None, 0)
    daemon = FakeMpsDaemon(tmp_path, {100: ()})
    assert mps_state(MpsControl(daemon.pipe_directory, str(daemon.program))) == ("", 1)
    daemon.end()
    assert mps_state(MpsControl(daemon.pipe_directory, "x")) == (f"no MPS control daemon at {daemon.pipe_directory}", 0)


def test_all_of_it_at_once(tmp_path: Path, driver: SimulatedDriver) -> None:
    """A bare machine has nothing, and nothing fails."""
    driver.add(Model())
    write(tmp_path / "etc/containerd/config.toml", "[plugins.nvidia]")
    write(tmp_path / "etc/crio/crio.conf", "")
    facts = gather_node(
        root=tmp_path,
        sockets=[tmp_path / "kubelet.sock"],
        strategy="envvar",
        mps=None,
        load_pynvml=load_pynvml,
        toolkit_program="/nonexistent/nvidia-ctk",
    )
    assert (facts.driver, list(facts.gpus.values()), facts.toolkit, facts.cgroup_version) == ("", [""], "", 0)
    assert {file.of: file.has_nvidia for file in facts.runtime_files.values()} == {"containerd": True, "CRI-O": False}
    assert facts.kubelet_runtime == "CRI-O"
    assert list(facts.sockets.values()) == ["absent"]
