"""Nodes that look alike get the same answers; groups follow the ledger and forget without harm."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.contract.inventory import Inventory
from extender.contract.units import GpuUuid
from extender.scheduling.fitting.fitting import Fit, fit
from extender.scheduling.ledger.events import NodeChanged, NodeDeleted, PodChanged, PodDeleted, PodRecord
from extender.scheduling.ledger.ledger import Ledger
from extender.scheduling.nodes.node import Holder, NodeInfo, NodeRecord, node_info
from extender.scheduling.pods.footprint import Footprint
from extender.scheduling.pods.request import PodRequest
from extender.scheduling.policies.policy import Policy
from extender.scheduling.policies.table import POLICIES
from extender.scheduling.ranking.looks import READ_ALL, Groups, full_look_of, look_of, make_of
from extender.scheduling.ranking.rankings import Rankings
from tests.extender.scheduling.builders import BINPACK, UNIT_MIB, gpus_of, mig, record, shares, wholes
from tests.extender.scheduling.strategies import POLICY, records, requests

NAMES = [f"node-{number}" for number in range(4)]


def _twin(data: st.DataObject, original: NodeRecord, **same: int) -> NodeRecord:
    """A node of the same make with another name, other UUIDs and, unless told, other memory."""
    inventory = original.inventory
    if inventory is not None:
        gpus = tuple(replace(gpu, uuid=GpuUuid(f"twin-{gpu.uuid}")) for gpu in inventory.gpus)
        inventory = Inventory(inventory.unit_mib, gpus)
    memory_bytes = same.get("memory_bytes", original.memory_bytes + data.draw(st.integers(-1000, 1000)))
    return replace(original, name="twin", uid="twin", inventory=inventory, memory_bytes=max(0, memory_bytes))


def _held(record: NodeRecord, at: int, units: int, request: PodRequest, memory_bytes: int) -> Holder:
    gpus = record.inventory.gpus if record.inventory is not None else ()
    footprint = Footprint({gpus[at % len(gpus)].uuid: units}) if gpus else None
    return Holder(f"pod-{at}", "", "", request, footprint, cpu_milli=100 * units, memory_bytes=memory_bytes)


def _answers(node: NodeInfo, request: PodRequest, policy: Policy) -> object:
    answer = fit(node, request, policy)
    return (answer.chosen, answer.after, answer.cost) if isinstance(answer, Fit) else answer


@settings(max_examples=150, deadline=None)
@given(data=st.data(), original=records("original"), request=requests(most=2), policy=POLICY)
def test_nodes_that_look_alike_get_the_same_answer(
    data: st.DataObject, original: NodeRecord, request: PodRequest, policy: Policy
) -> None:
    """Whatever their names, memory and pods are called; of the policies that read more, where that is alike, too."""
    full = policy.name in READ_ALL
    twin = _twin(data, original, **({"memory_bytes": original.memory_bytes} if full else {}))
    held = data.draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=3, unique_by=lambda one: one[0])
    )
    kinds = st.sampled_from([shares(2), wholes(1)])
    infos = []
    for node in (original, twin):
        holders = [
            _held(node, at, units, shares(2) if full else data.draw(kinds), 0 if full else data.draw(st.integers(0, 9)))
            for at, units in held
        ]
        infos.append(node_info(node, holders, unit_mib=UNIT_MIB))
    look = full_look_of if full else look_of
    assert make_of(original) == make_of(twin)
    assert look(infos[0], 1) == look(infos[1], 1)
    assert _answers(infos[0], request, policy) == _answers(infos[1], request, policy)


def test_a_mig_device_does_not_look_like_a_gpu_of_its_size() -> None:
    """Though everything else of the two nodes is alike."""
    cut = mig(0)
    makes = {make_of(record("node", [one])) for one in (cut, replace(cut, mig=None))}
    assert len(makes) == 2


@settings(max_examples=60, deadline=None)
@given(data=st.data(), request=requests(most=2))
def test_all_of_a_group_get_the_same_answer_under_random_events(data: st.DataObject, request: PodRequest) -> None:
    """Every node is in one group, that of its look, and no policy tells the nodes of a group apart."""
    ledger, plain, full = Ledger(UNIT_MIB), Groups(), Groups(full_look_of)
    for version in range(1, data.draw(st.integers(2, 14)) + 1):
        name = data.draw(st.sampled_from(NAMES))
        match data.draw(st.sampled_from(["node", "node", "gone", "pod", "pod", "ended", "follow"])):
            case "node":
                ledger.apply(NodeChanged(replace(data.draw(records(name)), resource_version=version)))
            case "gone":
                ledger.apply(NodeDeleted(name, version))
            case "pod":
                ledger.apply(PodChanged(PodRecord(f"p{version}", node=name, request=request, cpu_milli=100)))
            case "ended":
                ledger.apply(PodDeleted(f"p{version - 1}"))
            case _:
                plain.follow(ledger)
    for groups in (plain, full):
        groups.follow(ledger)
        assert groups.of.keys() == ledger.nodes.keys()
        assert sum(groups.occupied().values()) == len(ledger.nodes)
    for policy in POLICIES.values():
        groups = full if policy.name in READ_ALL else plain
        for group in groups.occupied():
            answers = [_answers(ledger.nodes[name], request, policy) for name in group.names]
            assert answers == [answers[0]] * len(answers)
            assert group.names == sorted(group.names)


def test_groups_that_stay_empty_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a bound; one that comes back is another group."""
    monkeypatch.setattr("extender.scheduling.ranking.looks.EMPTY_GROUPS", 3)
    ledger, groups = Ledger(UNIT_MIB), Groups()
    ledger.apply(NodeChanged(record("a", gpus_of(4), 1)))
    groups.follow(ledger)
    first = groups.of["a"]
    for version in range(2, 12):
        ledger.apply(NodeChanged(record("a", gpus_of(4 + version), version)))
        groups.follow(ledger)
    assert (first.serial in groups.by_serial, len(groups.by_serial) <= 5) == (False, True)
    ledger.apply(NodeChanged(record("a", gpus_of(4), 20)))
    groups.follow(ledger)
    assert groups.of["a"] is not first


def test_moves_are_remembered_as_the_number_of_groups_demands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for ever: looks of forgotten groups are kept with them."""
    monkeypatch.setattr("extender.scheduling.ranking.looks.EMPTY_GROUPS", 20)
    monkeypatch.setattr("extender.scheduling.ranking.looks.MOVES", 10)
    ledger, groups = Ledger(UNIT_MIB), Groups()
    reached = 0
    for version in range(1, 400):
        ledger.apply(NodeChanged(record("a", gpus_of(4 + version % (8 if version < 200 else 100)), version)))
        position = groups.follow(ledger)
        assert groups.moves_since(position) == {}
        moves = groups._moves
        assert len(moves) <= 10 + 4 * len(groups.by_serial)
        assert len(groups.by_serial) <= 2 + 20 + 2
        reached = max(reached, len(moves))
    assert reached > 50
    assert groups.moves_since(0) is None


def test_a_ranking_survives_forgotten_groups_and_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both memories are bounded; what is forgotten is computed again."""
    monkeypatch.setattr("extender.scheduling.ranking.looks.EMPTY_GROUPS", 1)
    monkeypatch.setattr("extender.scheduling.ranking.looks.MOVES", 4)
    ledger, rankings = Ledger(UNIT_MIB), Rankings()
    for version in range(1, 40):
        ledger.apply(NodeChanged(record(NAMES[version % 4], gpus_of(4 + version * 7 % 11), version)))
        if version % 3 == 0:
            for request in (shares(2), shares(9)):
                ranking = rankings.of(request, BINPACK)
                best, costs = ranking.best(ledger, NAMES, 4), ranking.costs(ledger, NAMES)
                expected = sorted(
                    (answer.cost, name)
                    for name, node in ledger.nodes.items()
                    if isinstance(answer := fit(node, request, BINPACK), Fit)
                )
                assert [(costs[name], name) for name in best.names] == expected
                assert best.fitting == len(expected)
