"""From pictures of the cluster over time to GPU time and dollars: shared as it was, and on whole GPUs.

On whole GPUs each pod would hold as many GPUs of the model it ran on as it now holds parts of, for the same time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.pricing import PriceTable


@dataclass(slots=True)
class Tally:
    """Sums over time; feed it `GET /v1/nodes` answers in order of time."""

    prices: PriceTable
    shared_gpu_s: float = 0.0
    shared_usd_s: float = 0.0
    whole_gpu_s: float = 0.0
    whole_usd_s: float = 0.0
    peak_shared: int = 0
    peak_whole: int = 0
    pods: set[str] = field(default_factory=set)
    last_s: float | None = None

    def add(self, now_s: float, nodes: Iterable[Mapping[str, Any]]) -> None:
        """Account the time since the last call with what the GPUs hold now."""
        elapsed_s = 0.0 if self.last_s is None else max(0.0, now_s - self.last_s)
        self.last_s = now_s
        shared = whole = 0
        for gpu in (gpu for node in nodes for gpu in node["gpus"]):
            holders = [holder for holder in gpu["holders"] if holder["state"] == "bound"]
            if not holders:
                continue
            price = self.prices.usd_per_hour(gpu["model"])
            self.pods.update(holder["uid"] for holder in holders)
            shared += 1
            whole += len(holders)
            self.shared_gpu_s += elapsed_s
            self.shared_usd_s += elapsed_s * price
            self.whole_gpu_s += elapsed_s * len(holders)
            self.whole_usd_s += elapsed_s * len(holders) * price
        self.peak_shared = max(self.peak_shared, shared)
        self.peak_whole = max(self.peak_whole, whole)

    @property
    def saving(self) -> float:
        """Share of the dollars for whole GPUs that sharing saved."""
        return 1.0 - self.shared_usd_s / self.whole_usd_s if self.whole_usd_s else 0.0
