"""Random nodes, pods and clusters for the properties of the scheduling core: small, and often nearly full."""

from dataclasses import replace

from hypothesis import strategies as st

from extender.contract.containers import ContainerKind
from extender.contract.inventory import Inventory, InventoryGpu
from extender.scheduling.nodes.node import Holder, NodeInfo, NodeRecord
from extender.scheduling.pods.models import ANY_MODEL, ModelPatterns, RequestError, parse_models
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import POLICIES
from tests.extender.scheduling.builders import A100, T4, UNIT_MIB, gpu, holder, info, mig, on, record

POLICY: st.SearchStrategy[Policy] = st.sampled_from(list(POLICIES.values()))
MODELS: st.SearchStrategy[ModelPatterns] = st.sampled_from(
    [ANY_MODEL, ANY_MODEL, *map(parse_models, ("T4", "!T4", "*MIG*", "T4,*MIG 1g*", "!*MIG*"))]
)


@st.composite
def containers(draw: st.DrawFn, *, most: int = 4, largest: int = 8, core: bool = False) -> tuple[ContainerRequest, ...]:
    """Containers of one pod in the order of admission: init containers and sidecars in any order, then apps.

    With `core` some of them ask for compute.
    """
    asked: list[ContainerRequest] = []
    kinds = draw(st.lists(st.sampled_from(list(ContainerKind)), min_size=1, max_size=most))
    for at, kind in enumerate(sorted(kinds, key=lambda kind: kind is ContainerKind.APP)):
        whole = draw(st.integers(0, 5)) == 0
        amount = draw(st.integers(1, 3 if whole else largest))
        percent = draw(st.sampled_from([0, 1, 20, 50, 60])) if core and not whole else 0
        asked.append(ContainerRequest(f"c{at}", kind, 0 if whole else amount, amount if whole else 0, percent))
    return tuple(asked)


@st.composite
def requests(draw: st.DrawFn, *, most: int = 4, largest: int = 8, core: bool = False) -> PodRequest:
    """Requests that have a meaning, of at most `most` containers of at most `largest` units on each GPU."""
    count = draw(st.sampled_from([1, 1, 1, 2, 3]))
    base = draw(containers(most=most, largest=largest, core=core))
    asked = tuple(
        ContainerRequest(c.name, c.kind, c.memory_units * count, c.gpus, c.core_percent * count) for c in base
    )
    try:
        return pod_request(asked, gpu_count=count, models=draw(MODELS))
    except RequestError:
        return pod_request(base, models=draw(MODELS))


@st.composite
def gpus(draw: st.DrawFn, index: int, *, largest: int = 12) -> InventoryGpu:
    """A GPU of one of two models, or a MIG device of one, sometimes unhealthy, sometimes used by others."""
    units, healthy = draw(st.integers(0, largest)), draw(st.integers(0, 5)) > 0
    if draw(st.integers(0, 3)) == 0:
        found = mig(index, units, slices=draw(st.integers(1, 2)), healthy=healthy)
    else:
        found = gpu(index, units, draw(st.sampled_from([T4, A100])), healthy=healthy)
    return replace(found, outside_mib=draw(st.sampled_from([0, 0, 0, 1, 1024, 1025])))


@st.composite
def records(draw: st.DrawFn, name: str = "node", *, most: int = 4) -> NodeRecord:
    """A node of up to `most` GPUs of different sizes."""
    return record(name, [draw(gpus(index)) for index in range(draw(st.integers(0, most)))])


@st.composite
def nodes(draw: st.DrawFn, name: str = "node", *, most: int = 4) -> NodeInfo:
    """A node with some of its GPUs partly or wholly taken; never overcommitted, no pod of unknown place."""
    known = draw(records(name, most=most))
    assert known.inventory is not None
    return info(known, draw(holders(known.inventory)))


@st.composite
def holders(draw: st.DrawFn, inventory: Inventory) -> tuple[Holder, ...]:
    """Pods on some of the GPUs."""
    taken: list[Holder] = []
    for each in inventory.gpus:
        units = each.memory_mib // UNIT_MIB
        state = draw(st.sampled_from(["idle", "idle", "shared", "shared", "whole"]))
        if state == "shared" and units:
            percent = draw(st.sampled_from([0, 0, 30, 60]))
            cores = {each.index: percent} if percent else None
            taken.append(holder(f"pod-{each.index}", on({each.index: draw(st.integers(1, units))}, cores=cores)))
        elif state == "whole" and units:
            taken.append(holder(f"pod-{each.index}", on(whole=[each.index])))
    return tuple(taken)


@st.composite
def clusters(draw: st.DrawFn, *, most: int = 4) -> tuple[NodeInfo, ...]:
    """Some nodes."""
    return tuple(draw(nodes(f"node-{at}", most=3)) for at in range(draw(st.integers(1, most))))
