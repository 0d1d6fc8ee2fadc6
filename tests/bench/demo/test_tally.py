"""GPU time and money of sharing are sums over time of who holds what."""

from typing import Any

import pytest

from bench.demo.exclusive import Outcome
from bench.demo.tally import Tally
from bench.demo.view import summary
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid
from extender.kubectl.cluster.prices import load_prices

PRICES = load_prices()


def _gpu(model: str, *pods: str, state: str = "bound") -> dict[str, Any]:
    return {"uuid": "GPU-a", "model": model, "holders": [{"uid": pod, "name": pod, "state": state} for pod in pods]}


def test_pods_that_share_a_gpu_share_its_price() -> None:
    """Ten seconds of one T4 for two pods."""
    tally = Tally(PRICES)
    nodes = [{"gpus": [_gpu("Tesla T4", "a", "b"), _gpu("Tesla T4")]}]
    tally.add(0.0, nodes)
    tally.add(10.0, nodes)
    outcome = tally.outcome
    assert (outcome.gpu_s, outcome.pod_s, outcome.ran, outcome.peak_gpus) == (10.0, 20.0, 2, 1)
    assert outcome.usd_s == pytest.approx(3.5)
    assert tally.outcome.usd_per_pod_hour == pytest.approx(0.175)


def test_a_mig_device_costs_its_part_of_the_gpu() -> None:
    """Two of one GPU in use are one GPU, of which they have four slices of seven."""
    slices = {f"MIG-{gi}": MigDevice(GpuUuid("GPU-a"), gi, gi, 0, "2g.10gb", 2, 7) for gi in (1, 2)}
    model = "NVIDIA A100-SXM4-40GB"
    gpus = [_gpu(f"{model} MIG 2g.10gb", uuid) | {"uuid": uuid} for uuid in slices]
    tally = Tally(PRICES, slices)
    for now_s in (0.0, 7.0):
        tally.add(now_s, [{"gpus": gpus}])
    assert (tally.outcome.gpu_s, tally.outcome.peak_gpus, tally.outcome.ran) == (4.0, 1, 2)
    assert tally.outcome.usd_s == pytest.approx(4.0 * PRICES.usd_per_hour(model))


def test_room_that_is_only_held_costs_nothing() -> None:
    """Pods count from their bind on."""
    tally = Tally(PRICES)
    for now_s in (0.0, 5.0):
        tally.add(now_s, [{"gpus": [_gpu("Tesla T4", "a", state="held")]}])
    assert tally.outcome == Outcome()


def test_the_summary_compares_by_pod_and_hour() -> None:
    """Half the dollars for the same pod time is half saved."""
    shared = Outcome(gpu_s=10, usd_s=5, pod_s=20, ran=2, peak_gpus=1)
    whole = Outcome(gpu_s=20, usd_s=10, pod_s=20, ran=2, peak_gpus=2)
    assert "saved per pod-hour: 50%" in summary(shared, whole, 2, 4, 10.0)
