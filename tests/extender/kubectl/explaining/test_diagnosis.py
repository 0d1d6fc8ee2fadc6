"""Every node is in one group, what fits fits by the shipped `fit`, and what is said to open a node opens it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.diagnosis import Diagnosis, diagnose
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.fitting.reasons import Misfit
from tests.extender.kubectl.views import asker, component, offering, on, view
from tests.extender.objects import T4, Json, container, mixed_node, node, pod, uuid

SIZES = st.lists(st.integers(4, 40), min_size=0, max_size=3)


def diagnosis(nodes: list[Json], waits: Json, *others: Json) -> Diagnosis:
    """What is said of the pod `waits`."""
    seen = view(nodes, [waits, *others])
    return diagnose(seen, asker(seen))


def causes(found: Diagnosis) -> list[tuple[Cause, list[str]]]:
    """Cause and nodes of each group."""
    return [(group.cause, group.names) for group in found.groups]


def outside(name: str, units: int, used_units: int) -> Json:
    """A node of one GPU on which something else uses memory."""
    body = node(name, units)
    inventory = json.loads(body["metadata"]["annotations"]["gpupack.io/inventory"])
    inventory["gpus"][0]["outsideMib"] = used_units * 1024
    body["metadata"]["annotations"]["gpupack.io/inventory"] = json.dumps(inventory)
    return body


def closed(body: Json) -> Json:
    """The node with a taint."""
    return {**body, "spec": {"taints": [{"key": "team", "value": "a", "effect": "NoSchedule"}]}}


@given(
    sizes=st.lists(SIZES, min_size=1, max_size=4),
    used=st.lists(st.integers(0, 30), min_size=4, max_size=4),
    ill=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=3),
    cordoned=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=3),
    tainted=st.sets(st.integers(0, 3), max_size=2),
    wanted=st.integers(1, 48),
)
def test_partition_and_truth(
    *,
    sizes: list[list[int]],
    used: list[int],
    ill: set[tuple[int, int]],
    cordoned: set[tuple[int, int]],
    tainted: set[int],
    wanted: int,
) -> None:
    """Each node once; FITS exactly where `fit` says so and no rule forbids it; the causes are really there."""
    nodes, pods = [], [pod("waits", wanted)]
    for at, units in enumerate(sizes):
        name = f"n{at}"
        out = {uuid(name, gpu) for where, gpu in ill | cordoned if where == at}
        by_hand = [uuid(name, gpu) for where, gpu in sorted(cordoned) if where == at and gpu < len(units)]
        annotations = {"cordon": ",".join(by_hand)} if by_hand else {}
        body = node(name, *units, unhealthy=out, annotations=annotations)
        nodes.append(closed(body) if at in tainted else body)
        if units and used[at]:
            pods.append(on(f"there-{at}", used[at], uuid(name, 0), name))
    seen = view(nodes, pods)
    asking = asker(seen)
    found = diagnose(seen, asking)
    assert sorted(name for group in found.groups for name in group.names) == sorted(seen.snapshot.nodes)
    for group in found.groups:
        for verdict in group.verdicts:
            info = seen.snapshot.nodes[verdict.node]
            at = int(verdict.node[1:])
            fits = isinstance(fit(info, asking.request, asking.policy), Fit)
            assert (verdict.cause is Cause.FITS) == (fits and at not in tainted)
            assert (verdict.cause is Cause.TAINT) == (fits and at in tainted)
            if verdict.cause is Cause.GPU_CORDONED:
                assert any(where == at for where, _ in cordoned)
            assert not (verdict.opens and at in tainted and verdict.cause is not Cause.TAINT)


def test_the_nearest_comes_first() -> None:
    """Less is missing where only a taint is in the way than where memory is, and most where there is no GPU."""
    nodes = [node("cpu"), node("full", 16), node("large", 40), closed(node("tainted", 40)), node("small", 4)]
    found = diagnosis(
        nodes, pod("waits", 10), on("a", 10, uuid("full", 0), "full"), on("b", 35, uuid("large", 0), "large")
    )
    assert causes(found) == [
        (Cause.TAINT, ["tainted"]),
        (Cause.FULL, ["full", "large"]),
        (Cause.TOO_LARGE, ["small"]),
        (Cause.NO_GPUS, ["cpu"]),
    ]


def test_one_mend_is_named_only_where_it_is_enough() -> None:
    """A cordoned GPU that is also too small is no help."""
    cordon = {"cordon": uuid("a", 0)}
    opening = node("a", 16, 4, unhealthy={uuid("a", 0)}, annotations=cordon)
    assert causes(diagnosis([opening], pod("waits", 10))) == [(Cause.GPU_CORDONED, ["a"])]
    assert causes(diagnosis([opening], pod("waits", 20))) == [(Cause.TOO_LARGE, ["a"])]
    ill = node("a", 16, 4, unhealthy={uuid("a", 0)})
    assert causes(diagnosis([ill], pod("waits", 10))) == [(Cause.UNHEALTHY, ["a"])]


def test_memory_in_use_outside() -> None:
    """With how much."""
    found = diagnosis([outside("a", 16, 8)], pod("waits", 10))
    assert causes(found) == [(Cause.OUTSIDE, ["a"])]
    assert found.groups[0].nearest.what == "in use by what holds no memory there: GPU 0: 8Gi"


def test_a_full_node_is_full_although_one_of_its_gpus_is_cordoned_elsewhere() -> None:
    """Unless the cordoned one would have room."""
    there = node("a", 16, 16, unhealthy={uuid("a", 1)}, annotations={"cordon": uuid("a", 1)})
    held = on("b", 16, uuid("a", 1), "a")
    assert causes(diagnosis([there], pod("waits", 10), on("c", 10, uuid("a", 0), "a"))) == [(Cause.GPU_CORDONED, ["a"])]
    found = diagnosis([there], pod("waits", 10), on("c", 10, uuid("a", 0), "a"), held)
    assert causes(found) == [(Cause.FULL, ["a"])]


def test_nodes_that_should_have_gpus_and_show_none() -> None:
    """By their label, by what they offer, by an inventory that cannot be read; a node without all that has no GPUs."""
    labelled = node("labelled")
    labelled["metadata"]["labels"] = {"nvidia.com/gpu.present": "true"}
    refused = node("kept-out")
    refused["metadata"]["labels"] = {"nvidia.com/gpu.present": "true", "gpupack.io/gpu": "false"}
    offers = offering(node("offers"), 16)
    unreadable = node("unreadable", annotations={"inventory": "{"})
    found = diagnosis([labelled, refused, offers, unreadable, node("cpu")], pod("waits", 4))
    assert causes(found) == [
        (Cause.NO_PLUGIN, ["labelled", "offers", "unreadable"]),
        (Cause.NO_GPUS, ["cpu", "kept-out"]),
    ]
    assert "its inventory can't be read: inventory: not JSON" in found.groups[0].verdicts[2].what


def test_a_device_plugin_that_does_not_run_is_named_with_its_state() -> None:
    """And its log."""
    there = offering(node("n1", 16), 0)
    plugin = component("plugin-x", "device-plugin", ready=False)
    seen = view([there], [pod("waits", 4), plugin])
    (group,) = diagnose(seen, asker(seen)).groups
    assert (group.cause, group.opens) == (Cause.NO_PLUGIN, True)
    assert group.nearest.what.endswith("its device plugin gpupack-system/plugin-x is running but not ready")
    assert group.nearest.help == "look at its log: kubectl -n gpupack-system logs plugin-x"


@pytest.mark.parametrize(
    ("waits", "nodes", "cause", "what"),
    [
        (pod("waits", gpus=2), [node("a", 16, 16)], Cause.NOT_IDLE, "2 whole GPUs wanted, 1 of 2 idle"),
        (
            pod("waits", gpus=3),
            [node("a", 16, 16)],
            Cause.TOO_FEW_GPUS,
            "3 GPUs wanted; the node has 2 that the pod accepts",
        ),
        (pod("waits", 20), [node("a", 16, 16)], Cause.TOO_LARGE, "20Gi wanted, the node's largest GPU has 16Gi"),
        (
            pod("waits", 24, annotations={"gpu-count": "2"}),
            [node("a", 16, 16)],
            Cause.FULL,
            "12Gi wanted on each of 2 GPUs; largest free on one GPU: 16Gi, in all: 22Gi",
        ),
        (
            pod("waits", 4, annotations={"gpu-model": "H100*"}),
            [node("a", 16, 16)],
            Cause.MODEL,
            f"the node has {T4}",
        ),
    ],
)
def test_causes_with_their_numbers(waits: Json, nodes: list[Json], cause: Cause, what: str) -> None:
    """Beside a pod of 10 units."""
    (group,) = diagnosis(nodes, waits, on("there", 10, uuid("a", 0), "a")).groups
    assert (group.cause, group.nearest.what) == (cause, what)


def test_the_numbers_per_gpu_are_those_of_the_extender() -> None:
    """The same function makes them."""
    seen = view([node("a", 16, 16)], [pod("waits", 12), on("there", 10, uuid("a", 0), "a")])
    assert asker(seen).verdict(seen.snapshot.nodes["a"]).gpu_reasons(seen.unit_mib) == [
        "6Gi of 16Gi free; 12Gi needed",
        "",
    ]


def test_rules_beside_another_cause_are_kept() -> None:
    """A full node that is also tainted would not open by itself."""
    (group,) = diagnosis([closed(node("a", 16))], pod("waits", 10), on("b", 10, uuid("a", 0), "a")).groups
    (verdict,) = group.verdicts
    assert (verdict.cause, verdict.opens) == (Cause.FULL, False)
    assert [rule.cause for rule in verdict.rules] == [Cause.TAINT]
    assert verdict.what == "10Gi wanted on one GPU; largest free on one GPU: 6Gi, in all: 6Gi"


def test_a_plugin_that_offers_no_compute_is_named_by_the_resource_that_it_lacks() -> None:
    """Memory is on offer there."""
    old = node("a", 16)
    del old["status"]["allocatable"]["gpupack.io/gpu-core"]
    (group,) = diagnosis([old], pod("waits", 4, core=10)).groups
    assert (group.cause, group.opens) == (Cause.NO_PLUGIN, False)
    assert group.nearest.what.startswith("its kubelet offers no gpupack.io/gpu-core")


def test_an_unhealthy_gpu_that_is_also_full_is_not_said_to_have_room() -> None:
    """It would do by its size alone, as the extender tells kube-scheduler."""
    there = node("a", 4, 16, unhealthy={uuid("a", 1)})
    (group,) = diagnosis([there], pod("waits", 8), on("b", 16, uuid("a", 1), "a")).groups
    assert (group.cause, group.opens, group.cause.text) == (Cause.UNHEALTHY, False, Misfit.UNHEALTHY.text)


def test_a_node_opens_only_when_nothing_else_is_in_the_way() -> None:
    """Of two rules the first names the cause, and mending it would not be enough."""
    tainted = closed(node("a", 16, cpu="1"))
    waits = pod("waits", containers=[container("main", 4, cpu="2")])
    (verdict,) = diagnosis([tainted], waits).groups[0].verdicts
    assert (verdict.cause, verdict.opens, [rule.cause for rule in verdict.rules]) == (
        Cause.TAINT,
        False,
        [Cause.TAINT, Cause.HOST_CPU],
    )


def test_uncordoning_is_advised_only_where_it_makes_room() -> None:
    """The cordoned GPU is too small; the large one is unhealthy."""
    there = node("a", 4, 16, unhealthy={uuid("a", 0), uuid("a", 1)}, annotations={"cordon": uuid("a", 0)})
    assert causes(diagnosis([there], pod("waits", 10))) == [(Cause.UNHEALTHY, ["a"])]


def test_a_node_whose_gpus_are_all_cordoned_opens_by_uncordoning() -> None:
    """Its kubelet offers nothing until then, which is no fault of its device plugin."""
    cordoned = node("a", 16, unhealthy={uuid("a", 0)}, annotations={"cordon": uuid("a", 0)})
    (group,) = diagnosis([offering(cordoned, 0)], pod("waits", 10)).groups
    assert (group.cause, group.opens, group.nearest.help) == (
        Cause.GPU_CORDONED,
        True,
        "kubectl gpupack uncordon a/0",
    )
    ill = offering(node("a", 16, unhealthy={uuid("a", 0)}), 0)
    (group,) = diagnosis([ill], pod("waits", 10)).groups
    assert (group.cause, group.opens) == (Cause.UNHEALTHY, True)


def test_the_requested_model_is_nearer_than_another() -> None:
    """One GPU short of the right model comes before room on the wrong one."""
    right, wrong = node("right", 80, 80, model="NVIDIA H100"), node("wrong", 80, 80, 80, model="NVIDIA A100")
    waits = pod("waits", gpus=3, annotations={"gpu-model": "H100*"})
    assert causes(diagnosis([wrong, right], waits)) == [(Cause.TOO_FEW_GPUS, ["right"]), (Cause.MODEL, ["wrong"])]


def test_nodes_without_gpus_come_last() -> None:
    """Even after those that would be full if their device plugin ran."""
    broken = offering(node("broken", 16), 0)
    found = diagnosis(
        [node("cpu-1"), node("cpu-2"), broken], pod("waits", 10), on("b", 16, uuid("broken", 0), "broken")
    )
    assert causes(found) == [(Cause.NO_PLUGIN, ["broken"]), (Cause.NO_GPUS, ["cpu-1", "cpu-2"])]


def test_a_cordoned_mig_device_is_uncordoned_by_its_own_name() -> None:
    """One that is out with its GPU by the UUID of the GPU."""
    sick = mixed_node("a", ("1g.10gb",), cordon="GPU-a-0,GPU-a-1,MIG-a-1-0")
    inventory = json.loads(sick["metadata"]["annotations"]["gpupack.io/inventory"])
    for gpu in inventory["gpus"]:
        gpu["healthy"] = False
    sick["metadata"]["annotations"]["gpupack.io/inventory"] = json.dumps(inventory)
    (group,) = diagnosis([sick], pod("waits", 5)).groups
    assert (group.cause, group.nearest.what) == (Cause.GPU_CORDONED, "cordoned by hand: a/0, a/1:0")
    assert group.nearest.help == "kubectl gpupack uncordon a/0 GPU-a-1 a/1:0"


@pytest.mark.parametrize(
    ("asks", "cause", "what"),
    [
        (
            pod("waits", gpus=1),
            Cause.MIG_NOT_NAMED,
            "1 GPU wanted; the node has only MIG devices",
        ),
        (
            pod("waits", gpus=2, annotations={"gpu-model": "*MIG*"}),
            Cause.TOO_FEW_GPUS,
            "2 GPUs wanted; the node has only MIG devices of that model",
        ),
    ],
)
def test_mig_devices_of_no_use_are_counted_apart(asks: Json, cause: Cause, what: str) -> None:
    """Before one wonders why `kubectl describe node` shows more GPUs."""
    only = mixed_node("a", ("1g.10gb",))
    inventory = json.loads(only["metadata"]["annotations"]["gpupack.io/inventory"])
    del inventory["gpus"][0]
    only["metadata"]["annotations"]["gpupack.io/inventory"] = json.dumps(inventory)
    (group,) = diagnosis([only], asks).groups
    assert (group.cause, group.nearest.what) == (cause, what)


def test_of_nodes_of_a_wrong_model_the_most_similar_is_the_closest() -> None:
    """A MIG device of another size before a card with more room, which is nearer than another card."""
    nodes = [node("t4", 80), node("h100", 80, model="NVIDIA H100 80GB HBM3"), mixed_node("mig", ("1g.10gb",))]
    (group,) = diagnosis(nodes, pod("waits", gpus=1, annotations={"gpu-model": "*mig-3g.40gb"})).groups
    assert (group.cause, group.nearest.node) == (Cause.MODEL, "mig")


def test_a_cordoned_gpu_is_not_among_the_unhealthy_ones() -> None:
    """The pod wants two: one is ill, the other cordoned."""
    body = node("a", 16, 16, unhealthy={uuid("a", 0), uuid("a", 1)}, annotations={"cordon": uuid("a", 1)})
    inventory = json.loads(body["metadata"]["annotations"]["gpupack.io/inventory"])
    for gpu, reason in zip(inventory["gpus"], ("XID 79", "cordoned by hand"), strict=True):
        gpu["reason"] = reason
    body["metadata"]["annotations"]["gpupack.io/inventory"] = json.dumps(inventory)
    (group,) = diagnosis([body], pod("waits", gpus=2)).groups
    assert (group.cause, group.nearest.what) == (Cause.UNHEALTHY, "GPU 0: XID 79")
