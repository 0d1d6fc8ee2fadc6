"""The real pynvml binding on a simulated driver, or on this machine's own one where there is one."""

import ctypes.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pynvml
import pytest

from bench.simulated.nvml.driver import BuildError, SimulatedDriver, build, loaded_into

_REAL_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/nvidia/lib64")


def library(*, old_driver: bool = False) -> Path:
    """The simulated driver's library; skips the test where there is no compiler to build it."""
    try:
        return build(old_driver=old_driver)
    except BuildError as error:
        pytest.skip(f"the simulated NVML cannot be built: {error}")


@contextmanager
def simulated(folder: Path, monkeypatch: pytest.MonkeyPatch, *, old_driver: bool = False) -> Iterator[SimulatedDriver]:
    """A simulated driver without GPUs, loaded into the binding."""
    found = library(old_driver=old_driver)
    folder.mkdir()
    driver = SimulatedDriver(folder, found)
    monkeypatch.setenv("NVML_FAKE_DIR", str(folder))
    with loaded_into(pynvml, found):
        yield driver
    sessions = driver.state.sessions
    driver.close()
    assert sessions == 0, "NVML is still started"


def real_library() -> Path | None:
    """This machine's libnvidia-ml.so.1; None without an NVIDIA driver."""
    name = "libnvidia-ml.so.1"
    found = [Path(folder) / name for folder in _REAL_FOLDERS if (Path(folder) / name).exists()]
    if not found and ctypes.util.find_library("nvidia-ml"):
        return Path(name)
    return found[0] if found else None
