"""The cached table of fitting nodes always equals a fresh look at every node."""

import random
from typing import Any

from bench.simulated.scheduler.cache import SchedulerCache
from bench.simulated.scheduler.fit_cache import FitCache
from bench.simulated.scheduler.native_fit import PodView, misfit, view_of
from bench.simulated.specs import GpuSpec, MachineSpec
from extender.contract.names import Names

MEMORY = "gpupack.io/gpu-mem"


def _pod(uid: str, amount: int, **spec: Any) -> PodView:
    containers = [{"name": "c", "resources": {"requests": {MEMORY: str(amount)}}}]
    metadata = {"uid": uid, "namespace": "default", "name": uid}
    return view_of({"metadata": metadata, "spec": {"containers": containers, **spec}})


def _node(name: str, gpus: int) -> dict[str, Any]:
    return MachineSpec(name, (GpuSpec("T4", 16384, gpus),), labels={"size": str(gpus)}).hollow_node_object(Names())


def test_the_table_follows_every_change() -> None:
    """Random nodes and pods that come, go and move, checked after every step against all nodes."""
    rng = random.Random(1)
    view = SchedulerCache()
    cache = FitCache(view)
    kinds = [_pod("x", 8), _pod("y", 20), _pod("z", 8, nodeSelector={"size": "2"})]
    for step in range(600):
        name = f"n{rng.randrange(6)}"
        match rng.randrange(5):
            case 0:
                view.set_node(_node(name, rng.randrange(1, 4)))
            case 1:
                view.remove_node(name)
            case 2:
                view.remove(f"p{rng.randrange(30)}")
            case _:
                view.assume(_pod(f"p{rng.randrange(30)}", rng.randrange(1, 12)), name)
        pod = kinds[step % 3]
        expected = {state.name: misfit(pod, state) for state in view.nodes.values()}
        table = cache.table(pod)
        assert set(table.fitting) == {name for name, why in expected.items() if why is None}
        assert table.misfits == {name: why for name, why in expected.items() if why is not None}


def test_a_view_that_has_forgotten_its_changes_is_read_anew() -> None:
    """Too many changes since the last look: all nodes are looked at."""
    view = SchedulerCache()
    view.set_node(_node("n", 1))
    cache = FitCache(view)
    assert list(cache.table(_pod("x", 8)).fitting) == ["n"]
    view.assume(_pod("big", 16), "n")
    view.set_node(_node("other", 1))
    for _ in range(100_001):
        view.remove_node("gone")
    assert list(cache.table(_pod("x", 8)).fitting) == ["other"]
