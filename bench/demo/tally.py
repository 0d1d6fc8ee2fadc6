"""Adds up what sharing costs over time: hours and dollars of the GPUs in use, hours of running pods."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.demo.exclusive import Outcome
from extender.contract.mig import MigDevice, card_of, model_of_card
from extender.kubectl.cluster.prices import PriceTable


@dataclass(slots=True)
class Tally:
    """Sums over time; feed it `GET /v1/nodes` answers in order of time.

    A GPU is in use while a bound pod holds memory of it; idle GPUs cost nothing here, as for `Outcome`. A MIG device is
    a part of its GPU. `slices` are the MIG devices by UUID.
    """

    prices: PriceTable
    slices: Mapping[str, MigDevice] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    in_use: int = 0
    parts: int = 0
    _pods: set[str] = field(default_factory=set)
    _last_s: float | None = None

    def add(self, now_s: float, nodes: Iterable[Mapping[str, Any]]) -> None:
        """Account the time since the last call with what the GPUs hold now."""
        elapsed_s = 0.0 if self._last_s is None else max(0.0, now_s - self._last_s)
        self._last_s = now_s
        running: set[str] = set()
        self.parts = 0
        used: set[str] = set()
        for gpu in (gpu for node in nodes for gpu in node["gpus"]):
            holders = {holder["uid"] for holder in gpu["holders"] if holder["state"] == "bound"}
            if holders:
                mig = self.slices.get(gpu["uuid"])
                used.add(card_of(gpu["uuid"], mig))
                self.parts += len(holders)
                running |= holders
                part_s = elapsed_s if mig is None else elapsed_s * mig.share
                self.outcome.gpu_s += part_s
                self.outcome.usd_s += part_s * self.prices.usd_per_hour(model_of_card(gpu["model"], mig))
        self.in_use = len(used)
        self._pods |= running
        self.outcome.ran = len(self._pods)
        self.outcome.pod_s += elapsed_s * len(running)
        self.outcome.peak_gpus = max(self.outcome.peak_gpus, self.in_use)
