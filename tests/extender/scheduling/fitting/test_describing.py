"""Nodes and footprints as JSON: what a node's problem is, which pod holds what, and where a pod sits."""

from dataclasses import replace

import pytest
from msgspec import structs

from extender.contract.units import UnitMib
from extender.scheduling.fitting.describing import describe_gpu, describe_node, gpus_of
from extender.scheduling.nodes.node import Hold, NodeRecord
from tests.extender.scheduling.builders import T4, gpu, holder, info, mig, node, on, record, shares, uuid

KNOWN = record("node", [gpu(0, 16), gpu(1, 32)])
ILL = record("node", [gpu(0, 16, healthy=False)])
OTHER_UNIT = replace(KNOWN, inventory=replace(KNOWN.inventory, unit_mib=UnitMib(256)))  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        (KNOWN, ""),
        (replace(KNOWN, memory_units=0), ""),
        (replace(KNOWN, whole_gpus=None), ""),
        (replace(KNOWN, memory_units=None, whole_gpus=0), "device plugin is not serving"),
        (replace(ILL, memory_units=0, whole_gpus=0), ""),
        (OTHER_UNIT, "device plugin uses units of 256 MiB"),
        (replace(KNOWN, inventory=None), "no inventory"),
        (replace(KNOWN, inventory=None, inventory_error="inventory: not JSON"), "inventory: not JSON"),
    ],
)
def test_the_problem_of_a_node(known: NodeRecord, problem: str) -> None:
    """Empty where it has none."""
    assert describe_node(info(known))["problem"] == problem


def test_what_is_charged_is_told_by_how_firmly_it_is_held() -> None:
    """Bound, assumed and held add up to what is used; pods whose GPUs are unknown stand under `unplaced`."""
    bound = holder("a", on({0: 1}, cores={0: 30}))
    assumed = structs.replace(holder("b", on({0: 2})), hold=Hold.ASSUMED)
    held = structs.replace(holder("c", on({0: 4})), hold=Hold.HELD)
    place = node(16, 32, holders=[bound, assumed, held, holder("d", None, shares(5)), holder("e", on(whole=[1]))])
    first = describe_gpu(place, place.gpus[0])
    assert [(one["name"], one["units"], one["corePercent"], one["state"]) for one in first["holders"]] == [
        ("a", 1, 30, "bound"),
        ("b", 2, 0, "assumed"),
        ("c", 4, 0, "held"),
    ]
    assert (first["allocated"], first["held"], first["free"], first["whole"]) == (1 + 5, 2 + 4, 16 - 12, False)
    second = describe_gpu(place, place.gpus[1])
    assert [(one["name"], one["units"]) for one in second["holders"]] == [("e", 32)]
    assert (second["allocated"], second["free"], second["whole"]) == (32, 0, True)
    assert [one["name"] for one in describe_node(place)["unplaced"]] == ["d"]


def test_the_gpus_of_a_pod_are_in_order_whole_ones_first() -> None:
    """With model, index and size where the node still has them."""
    rows = gpus_of(on({2: 3, 0: 5}, whole=[1]), node(16, 32))
    assert rows == [
        {"uuid": uuid(1), "index": 1, "place": "1", "model": T4, "whole": True, "units": 32},
        {"uuid": uuid(0), "index": 0, "place": "0", "model": T4, "whole": False, "units": 5},
        {"uuid": uuid(2), "index": None, "place": None, "model": "", "whole": False, "units": 3},
    ]


def test_what_is_claimed_is_on_top() -> None:
    """It may be what others still have, and counts neither as allocated nor as held."""
    claimed = structs.replace(holder("b", on({0: 12})), hold=Hold.CLAIMED)
    place = node(16, holders=[holder("a", on({0: 10})), claimed])
    told = describe_gpu(place, place.gpus[0])
    assert [told[key] for key in ("allocated", "held", "claimed", "free", "overcommitted")] == [10, 0, 12, 0, 0]
    assert [(one["name"], one["units"], one["state"]) for one in told["holders"]] == [
        ("a", 10, "bound"),
        ("b", 12, "claimed"),
    ]


def test_a_mig_device_says_where_it_is() -> None:
    """For people in one word, for scripts in full."""
    place = info(record("node", [gpu(0), mig(1)]), [holder("a", on({1: 2}))])
    told = [describe_gpu(place, each) for each in place.gpus]
    assert [(one["index"], one["place"], one["mig"]) for one in told] == [
        (0, "0", None),
        (
            1,
            "1:1",
            {"parent": "GPU-parent", "device": 1, "gi": 2, "ci": 0, "profile": "1g.10gb", "slices": 1, "of": 7},
        ),
    ]
    assert [row["place"] for row in gpus_of(on({1: 2}), place)] == ["1:1"]
