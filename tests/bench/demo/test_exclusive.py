"""On whole GPUs each pod takes the cheapest idle one that it may take, and waits when there is none."""

import pytest

from bench.demo.exclusive import on_whole_gpus
from bench.demo.workload import DemoPod
from bench.simulated.specs import GpuSpec, MachineSpec
from extender.kubectl.cluster.prices import load_prices

PRICES = load_prices()
T4, A100 = GpuSpec("Tesla T4", 15360), GpuSpec("NVIDIA A100-SXM4-40GB", 40960, 2)
NODES = (MachineSpec("t4", (T4,)), MachineSpec("a100", (A100,)))


def _pod(name: str, at_s: float, runs_s: float, units: int = 4, *, gpus: int = 1, model: str = "*") -> DemoPod:
    return DemoPod(name, "trial", at_s, runs_s, units, gpus, {"gpupack.io/gpu-model": model})


def test_the_cheapest_gpu_first_then_the_dearer_ones() -> None:
    """Two small pods: one T4, then an A100, for the whole time that they run."""
    outcome = on_whole_gpus([_pod("a", 0, 10), _pod("b", 1, 5)], NODES, PRICES, 60)
    assert (outcome.ran, outcome.gpu_s, outcome.pod_s, outcome.peak_gpus) == (2, 15, 15, 2)
    assert outcome.usd_s == pytest.approx(10 * 0.35 + 5 * 4.10)


def test_a_pod_waits_for_a_gpu_and_runs_when_one_ends() -> None:
    """Three GPUs, four pods of 10 s: the fourth begins at 10 s and is cut off at the end of the run."""
    outcome = on_whole_gpus([_pod(name, 0, 10) for name in "abcd"], NODES, PRICES, 15)
    assert (outcome.ran, outcome.pod_s, outcome.peak_gpus) == (4, 35, 3)


def test_size_model_and_count_decide_which_gpus_will_do() -> None:
    """20 units and a pattern need an A100; two GPUs must be of one node; a third pod finds none."""
    pods = [_pod("large", 0, 50, 20), _pod("pair", 1, 50, 8, gpus=2), _pod("picked", 2, 50, model="A100*")]
    outcome = on_whole_gpus(pods, NODES, PRICES, 40)
    assert (outcome.ran, outcome.gpu_s) == (2, 40 + 38)
