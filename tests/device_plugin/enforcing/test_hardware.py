"""The rungs of enforcement on a real GPU: each is proven by a CUDA program that tries to take more than it may.

Without an NVIDIA driver these tests are skipped, each with what it lacks; nothing else in the project stands for them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pynvml
import pytest

from bench.simulated.nvml.driver import loaded_into
from device_plugin.enforcing.abilities import NvmlAbilities
from device_plugin.enforcing.mps import MpsControl
from device_plugin.enforcing.mps_proofs import MpsProofs
from device_plugin.enforcing.mps_trial import LIMIT_MIB
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from extender.contract.units import GpuUuid
from tests.device_plugin.drivers import real_library

_CGROUPS = Path("/sys/fs/cgroup")
_FOLDER = "gpupack-test"
_CONTROL = "nvidia-cuda-mps-control"
_TIMEOUT_S = 60.0


@pytest.fixture
def uuids() -> Iterator[list[GpuUuid]]:
    """The GPUs of this machine that the plugin would offer, with the real driver under the binding."""
    library = real_library()
    if library is None:
        pytest.skip("no NVIDIA driver on this machine")
    with loaded_into(pynvml, library):
        source = NvmlSource()
        found = [sample.uuid for sample in source.sample() if sample.healthy]
        yield found
        source.close()


def test_the_drivers_limit_of_a_cgroup_holds(uuids: list[GpuUuid]) -> None:
    """Set, read back, and kept to by a program in the cgroup, on each GPU."""
    abilities = NvmlAbilities(load_pynvml, _CGROUPS)
    for uuid in uuids:
        obstacle = abilities.limit_obstacle(uuid)
        if obstacle:
            pytest.skip(f"no limits by the driver on this machine: {obstacle}")
        folder = _CGROUPS / _FOLDER
        folder.mkdir(exist_ok=True)
        try:
            abilities.set_limit_mib(uuid, _FOLDER, LIMIT_MIB)
            assert abilities.limit_mib(uuid, _FOLDER) == LIMIT_MIB
            assert _trial(uuid, folder) == ""
        finally:
            with suppress(OSError):
                folder.rmdir()


def _trial(uuid: GpuUuid, cgroup: Path) -> str:
    """What the trial says when it runs in a cgroup."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": uuid}
    command = [
        "sh",
        "-c",
        f'echo $$ > {cgroup}/cgroup.procs && exec "$0" -m device_plugin.enforcing.mps_trial',
        sys.executable,
    ]
    done = subprocess.run(
        command, env=environment, input="\n", capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
    )
    lines = done.stdout.splitlines()
    if lines[0].startswith("not known: "):
        pytest.skip(lines[0])
    return lines[1]


def test_mps_holds_a_client_to_its_limit(uuids: list[GpuUuid], tmp_path: Path) -> None:
    """With a daemon of the test's own, on each GPU."""
    program = shutil.which(_CONTROL)
    if program is None:
        pytest.skip(f"no {_CONTROL} on this machine")
    pipe = tmp_path / "mps"
    pipe.mkdir()
    environment = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(pipe), "CUDA_MPS_LOG_DIRECTORY": str(tmp_path)}
    subprocess.run([program, "-d"], env=environment, timeout=_TIMEOUT_S, check=True)
    control = MpsControl(pipe, program, 10.0)
    try:
        proofs = MpsProofs(control, pipe)
        for uuid in uuids:
            proofs.attempt(uuid, control.state())
            assert proofs.obstacle(uuid) == ""
    finally:
        subprocess.run([program], env=environment, input="quit\n", text=True, timeout=_TIMEOUT_S, check=False)
