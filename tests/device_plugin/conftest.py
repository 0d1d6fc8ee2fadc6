"""Folders short enough for UNIX sockets, and parts of a plugin that end with their test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.simulated.nvml.driver import SimulatedDriver
from tests.device_plugin.drivers import simulated


@pytest.fixture
def folder() -> Iterator[Path]:
    """A fresh folder with a short path: a socket's may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="gp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedDriver]:
    """A simulated NVIDIA driver without GPUs, under the real binding."""
    with simulated(tmp_path / "nvml", monkeypatch) as found:
        yield found
