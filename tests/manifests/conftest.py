"""Provides the programs that the tests of the manifests need, and the series that gpupack exports."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.manifests.exported import Series, of_extender, of_plugin

BUILD_SCRIPT = Path(__file__).parent / "programs" / "build.sh"


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder with helm and promtool."""
    asked = subprocess.run([BUILD_SCRIPT, "--where"], capture_output=True, text=True, check=True, timeout=60)
    folder = Path(asked.stdout.strip())
    if not all(os.access(folder / name, os.X_OK) for name in ("helm", "promtool")):
        pytest.skip("Helm and promtool are not built yet: run `make kubernetes`")
    return folder


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    """Every series that the extender and the device plugin export, with its labels."""
    return {**of_extender(tmp_path_factory.mktemp("extender")), **of_plugin()}
