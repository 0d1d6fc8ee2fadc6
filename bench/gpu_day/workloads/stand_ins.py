"""Stands in for CUDA in a dry run: processes that use no GPU, but write down how much of one they would use."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

USE_FOLDER = "GPUPACK_GPU_DAY_USE"
"""Variable with the folder where each stand-in writes a file of its use in MiB, named after its process ID."""

STAND_IN_PIPE = "stand-in"
"""The MPS pipe directory of a daemon that is not there."""

LIMIT = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"
CONTEXT_MIB = 300
_TOTAL_MIB = 16384
_OUT_OF_MEMORY = 2
_ILLEGAL_ADDRESS = 700


def note_use(used_mib: int) -> None:
    """Let this process appear to use so much of the GPU."""
    file = Path(os.environ[USE_FOLDER]) / str(os.getpid())
    fresh = file.with_suffix(".new")
    fresh.write_text(str(used_mib), encoding="ascii")
    fresh.rename(file)


def uses(folder: Path) -> dict[int, int]:
    """What each stand-in uses that still runs, in MiB, by process ID."""
    return {
        int(path.name): int(path.read_text(encoding="ascii"))
        for path in sorted(folder.iterdir())
        if path.name.isdigit() and Path(f"/proc/{path.name}").exists()
    }


def limit_mib(environment: Mapping[str, str]) -> int:
    """What a client of MPS may take, as the documents say: no limit where the variable names an invisible GPU."""
    entries = [entry.partition("=") for entry in environment.get(LIMIT, "").split(",") if entry]
    visible = {environment.get("CUDA_VISIBLE_DEVICES"), "0"}
    is_client = environment.get("CUDA_MPS_PIPE_DIRECTORY") == STAND_IN_PIPE
    if not is_client or not entries or any(name not in visible for name, _, _ in entries):
        return _TOTAL_MIB
    return int(entries[0][2].removesuffix("M"))


class StandInCuda:
    """A GPU of 16 GiB that keeps to MPS's limit per client."""

    def __init__(self) -> None:
        self._got_mib = 0
        self._limit_mib = limit_mib(os.environ)
        note_use(CONTEXT_MIB)

    def info(self) -> dict[str, Any]:
        """Free and total memory, as the program sees them."""
        return {"free_mib": self._limit_mib - self._got_mib, "total_mib": self._limit_mib}

    def grow(self, mib: int, step_mib: int, how: str) -> dict[str, Any]:  # noqa: ARG002 - all ways are one here
        """Take memory until there is so much, or no more."""
        start_mib = self._got_mib
        while self._got_mib - start_mib < mib and self._got_mib + step_mib <= self._limit_mib:
            self._got_mib += step_mib
        note_use(CONTEXT_MIB + self._got_mib)
        got_mib = self._got_mib - start_mib
        return {"got_mib": got_mib, "code": 0 if got_mib >= mib else _OUT_OF_MEMORY}

    def touch(self) -> dict[str, Any]:
        """Use the GPU a little."""
        return {"code": 0}

    def launch(self, kernel: str, cycles: int = 0, *, wait: bool = True) -> dict[str, Any]:  # noqa: ARG002 - as CUDA
        """Launch one of the kernels of a fault."""
        return {"code": _ILLEGAL_ADDRESS if kernel == "bad" else 0}


class StandInModel:
    """An `InferenceModel` that burns a little CPU for each token."""

    _STEPS_MIB: Mapping[str, int] = {"context": 300, "library": 320, "blas": 340, "model": 1400, "warm": 1500}

    def step(self, name: str) -> None:
        """Appear to load one of the steps."""
        note_use(self._STEPS_MIB[name])

    def batch(self, kind: str) -> int:
        """Answers at the same time."""
        return 1 if kind == "launch" else 2

    def request(self, kind: str) -> list[float]:
        """Token by token."""
        return [self._token(5_000 * self.batch(kind)) for _ in range(4)]

    def fill(self, until_s: float) -> None:
        """Burn CPU."""
        while time.time() < until_s:
            self._token(20_000)

    @staticmethod
    def _token(rounds: int) -> float:
        began_s = time.perf_counter()
        sum(range(rounds))
        return time.perf_counter() - began_s
