"""Builds the libcuda.so.1 of `cuda_library.c` into a folder."""

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("cuda_library.c")
_TIMEOUT_S = 60.0


def build_cuda(folder: Path) -> Path:
    """The folder of the library, for LD_LIBRARY_PATH; skips the test where there is no compiler to build it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("the simulated CUDA driver cannot be built: no C compiler")
    folder.mkdir(exist_ok=True)
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-Wall",
        "-Werror",
        "-O1",
        str(_SOURCE),
        "-o",
        str(folder / "libcuda.so.1"),
    ]
    subprocess.run(command, check=True, timeout=_TIMEOUT_S)
    return folder
