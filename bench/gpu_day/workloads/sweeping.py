"""A model made of kernels alone, for machines without torch: each token reads all weights once, layer by layer.

That is what a decoder does with memory for each token, without its arithmetic. It loads no BLAS.
"""

import time
from dataclasses import dataclass
from typing import Any

from bench.gpu_day.workloads.cuda import Cuda

_BLOCKS = 264
"""Two for each multiprocessor of the largest GPUs."""


@dataclass(frozen=True, slots=True)
class SweepSize:
    """How large the model is: `layers` kernels per token, each over so many MiB by the kind of request."""

    layers: int = 24
    launch_mib: int = 4
    gpu_mib: int = 256
    tokens: int = 16


class SweepModel:
    """An `InferenceModel` on the CUDA driver API."""

    def __init__(self, size: SweepSize | None = None) -> None:
        self._size = size or SweepSize()
        self._cuda: Any = None
        self._function: Any = None
        self._weights = 0
        self._target = 0

    def step(self, name: str) -> None:
        """Load one of the steps; there is no library and no BLAS.

        Raises:
            CudaError: the driver refuses.
        """
        if name == "context":
            self._cuda = Cuda()
        elif name == "model":
            self._function = self._cuda.function("sweep")
            self._weights = self._cuda.block(self._size.gpu_mib)
            self._target = self._cuda.block(2)
        elif name == "warm":
            for kind in ("launch", "gpu"):
                self.request(kind)

    def batch(self, kind: str) -> int:  # noqa: ARG002 - one for each kind
        """One: there is no arithmetic to share between answers."""
        return 1

    def request(self, kind: str) -> list[float]:
        """Token by token, each waited for, as a server does."""
        mib = self._size.launch_mib if kind == "launch" else self._size.gpu_mib
        return [self._token(mib) for _ in range(self._size.tokens)]

    def fill(self, until_s: float) -> None:
        """Sweep with many kernels in flight."""
        while time.time() < until_s:
            self._token(self._size.gpu_mib)

    def _token(self, mib: int) -> float:
        began_s = time.perf_counter()
        for _ in range(self._size.layers):
            self._cuda.sweep(self._function, self._weights, mib, self._target, _BLOCKS)
        self._cuda.wait()
        return time.perf_counter() - began_s
