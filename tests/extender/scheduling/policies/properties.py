"""What every policy must do, whatever it prefers, and short ways to ask one what it prefers."""

from collections.abc import Iterable
from dataclasses import replace

from msgspec import structs

from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.learning.weights import Weights
from extender.scheduling.nodes.node import Holder, NodeInfo
from extender.scheduling.pods.models import ANY_MODEL
from extender.scheduling.pods.request import PodRequest, pod_request
from extender.scheduling.policies.policy import Policy
from tests.extender.scheduling.builders import app, gpus_of, info, record


def node_of(
    *units: int, holders: Iterable[Holder] = (), cpu_milli: int = 64_000, memory_gib: int = 256, name: str = "node"
) -> NodeInfo:
    """A node with CPU and memory."""
    known = replace(record(name, gpus_of(*units)), cpu_milli=cpu_milli, memory_bytes=memory_gib << 30)
    return info(known, holders)


def pod(units: int = 0, *, gpus: int = 0, cpu_milli: int = 1000, memory_gib: int = 4) -> PodRequest:
    """A pod of one container; it may ask for no GPU."""
    containers = (app(units, gpus=gpus),) if units or gpus else ()
    return pod_request(containers, models=ANY_MODEL, cpu_milli=cpu_milli, memory_bytes=memory_gib << 30)


def answer(node: NodeInfo, request: PodRequest, policy: Policy) -> Fit:
    """The fit, where there must be one."""
    found = fit(node, request, policy)
    assert isinstance(found, Fit)
    return found


def gpu_chosen(node: NodeInfo, request: PodRequest, policy: Policy) -> int:
    """The GPU on which a pod of one demand for one GPU goes."""
    return answer(node, request, policy).chosen[0][0]


def prefers(better: NodeInfo, worse: NodeInfo, request: PodRequest, policy: Policy) -> bool:
    """Whether the policy finds the first node strictly better."""
    return answer(better, request, policy).cost < answer(worse, request, policy).cost


def check_policy(policy: Policy, node: NodeInfo, request: PodRequest, *, length: int) -> None:
    """Costs have one length and are numbers, the same question has the same answer, and names do not matter."""
    found = fit(node, request, policy)
    renamed = structs.replace(node, record=replace(node.record, name="another", uid="another"))
    assert fit(node, request, policy) == found
    assert fit(renamed, request, policy) == found
    if isinstance(found, Fit):
        assert len(found.cost) == length
        assert all(cost == cost and abs(cost) != float("inf") for cost in found.cost)  # noqa: PLR0124 (not a number)


def learned(**figures: object) -> Weights:
    """Weights of a cluster of 16-unit GPUs."""
    return replace(Weights(reference_units=16.0, largest_cpu_milli=64_000, largest_units=64), **figures)  # type: ignore[arg-type]
