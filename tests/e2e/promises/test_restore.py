"""etcd is restored to an older state while the extender runs on: it takes over what is true then."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.simulated.specs import GpuSpec
from bench.simulated.waiting import wait_until
from tests.e2e.controlplane import ControlPlane
from tests.e2e.promises.clusters import add_nodes, pod_in, running
from tests.e2e.promises.recomputing import violations, wait_agreed
from tests.e2e.promises.restoring import back_up, restore
from tests.e2e.scenarios.environment import A100, Environment, RealBackend

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FOUR_GPUS = GpuSpec(A100.model, A100.memory_mib, 4)


@pytest.fixture
def empty(backend: RealBackend) -> Iterator[Environment]:
    """A cluster with one node of four A100."""
    with running(backend) as environment:
        add_nodes(environment, "restored", "r1", gpu=FOUR_GPUS)
        yield environment


@pytest.mark.parametrize("bumped", [False, True], ids=["same-revisions", "bumped-revisions"])
def test_after_a_restore_the_extender_says_what_is_true(
    control_plane: ControlPlane, backend: RealBackend, empty: Environment, tmp_path: Path, *, bumped: bool
) -> None:
    """Pods that were deleted are back and later ones never were; no GPU is given out on the view of before."""
    earlier, later = [f"earlier-{number}" for number in range(4)], [f"later-{number}" for number in range(4)]
    _bind(empty, earlier, 50)
    backup = back_up(control_plane, tmp_path / "backup")
    for name in earlier:
        empty.client.delete_pod(name, grace_s=0)
    _bind(empty, later, 30)
    wait_agreed(empty)

    # All programs but the extender start again, as the operators of a cluster are told to do.
    control_plane.stop_scheduler()
    restore(control_plane, backup, bumped=bumped)
    with ExitStack() as stack:
        backend.start_scheduler(empty.extender.url, stack)
        wait_agreed(empty, timeout_s=30)
        assert {pod["metadata"]["name"] for pod in empty.client.pods()} == {*earlier}
        # kube-scheduler counts 120 units free on the node, but there are 30 on each GPU.
        empty.client.create_pod(pod_in("restored", "next", 50))
        wait_until(lambda: _is_decided(empty, "next"), "next to be decided")
        assert violations(empty.client) == []
        empty.client.delete_pod("earlier-0", grace_s=0)
        empty.wait_bound("next", timeout_s=30)
        wait_agreed(empty)
        assert violations(empty.client) == []


def _bind(environment: Environment, names: list[str], units: int) -> None:
    for name in names:
        environment.client.create_pod(pod_in("restored", name, units))
    for name in names:
        environment.wait_bound(name)


def _is_decided(environment: Environment, name: str) -> bool:
    """Whether kube-scheduler has bound the pod or said why not."""
    pod = environment.client.pod(name) or {"status": {}}
    return any(each["type"] == "PodScheduled" for each in pod["status"].get("conditions") or ())
