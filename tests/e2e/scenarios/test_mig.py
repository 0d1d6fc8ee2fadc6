"""A node has a GPU and one in MIG devices: to kube-scheduler's own count they are four of one resource.

Which of them a pod may have, only the extender knows.
"""

from typing import Any

import pytest

from bench.simulated.client import FailureStatusError
from bench.simulated.specs import GpuSpec, MachineSpec, gpu_pod
from extender.contract.allocation import parse_allocation
from tests.checker import Checker
from tests.e2e.scenarios.conftest import Start
from tests.e2e.scenarios.environment import A100, MEMORY, NAMES, WHOLE, Environment, gpus

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(600)]
NODE = MachineSpec("n", (*gpus(a100=1), GpuSpec(A100.model, A100.memory_mib, mig=("3g.40gb", "1g.10gb", "1g.10gb"))))
CARD, LARGE, *SMALL = (str(gpu.uuid) for gpu in NODE.inventory().gpus)


def _create(environment: Environment, name: str, limits: dict[str, int], **more: Any) -> None:
    """A pod; `model` and `count` become annotations, the rest is its spec's."""
    named = {NAMES.model_annotation: more.pop("model", ""), NAMES.count_annotation: more.pop("count", "")}
    annotations = {key: value for key, value in named.items() if value}
    environment.client.create_pod(gpu_pod(name, limits, annotations=annotations, **more))


def _given(environment: Environment, name: str) -> list[str]:
    """The GPUs of a pod whose node has said where it is."""
    pod = environment.client.wait_for_pod(
        name,
        lambda body: NAMES.allocated_annotation in (body["metadata"].get("annotations") or {}),
        "to have its GPUs reported",
    )
    held = parse_allocation(pod["metadata"]["annotations"][NAMES.allocated_annotation]).containers["main"]
    return sorted(map(str, held))


def test_each_pod_gets_what_it_may_have(start: Start) -> None:
    """Whole GPUs by name only, several never of MIG devices, shares on all of them."""
    environment = start()
    environment.add_node(NODE)
    with Checker(environment.client) as checker:
        _create(environment, "pair", {WHOLE: 2}, model="*,*MIG*")
        _create(environment, "spread", {MEMORY: 8}, count="2")
        for name in ("pair", "spread"):
            environment.wait_refused(name, "1 fewer GPUs than requested (MIG devices cannot be combined)")
        _create(environment, "first", {WHOLE: 1})
        assert _given(environment, "first") == [CARD]
        _create(environment, "second", {WHOLE: 1})
        environment.wait_refused("second", "1 no idle GPU for a whole-GPU request")
        _create(environment, "named", {WHOLE: 1}, model="*MIG-3g.40gb")
        assert _given(environment, "named") == [LARGE]
        for name in ("a", "b", "c", "d"):
            _create(environment, name, {MEMORY: 4})
        given = [_given(environment, name) for name in ("a", "b", "c", "d")]
        assert sorted(given) == [[SMALL[0]], [SMALL[0]], [SMALL[1]], [SMALL[1]]]
        assert checker.settle() == ()


def test_a_whole_gpu_is_emptied_for_a_more_important_pod(start: Start) -> None:
    """All four are held whole; the pod gets the GPU, and those on MIG devices stay."""
    environment = start()
    for name, value in (("medium", 100), ("high", 1000)):
        body = {"metadata": {"name": name}, "value": value}
        try:
            environment.client.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
        except FailureStatusError as error:
            if error.status != 409:  # another scenario has made it
                raise
    environment.add_node(NODE)
    _create(environment, "on-the-gpu", {WHOLE: 1})
    assert _given(environment, "on-the-gpu") == [CARD]
    for name in ("a", "b", "c"):
        _create(environment, name, {WHOLE: 1}, model="*MIG*", priorityClassName="medium")
    assert sorted(_given(environment, name)[0] for name in ("a", "b", "c")) == sorted((LARGE, *SMALL))
    _create(environment, "important", {WHOLE: 1}, priorityClassName="high")
    assert _given(environment, "important") == [CARD]
    assert environment.client.pod("on-the-gpu") is None
    assert all(environment.client.pod(name) is not None for name in ("a", "b", "c"))
