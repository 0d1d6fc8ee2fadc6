"""The replay's cluster chooses what the shipped filter chooses on the nodes where CPU and memory suffice."""

from random import Random

import pytest

from bench.replay.deciding.learning import Learner, parse_contender
from bench.replay.deciding.mapping import UNIT_MIB, mapping_named, node_record, request_of
from extender.capacity.packing import Packing
from extender.scheduling.policies.table import POLICIES
from tests.bench.replay.traces import setting
from tests.extender.scheduling.naive_filter import filter_from_scratch

RELATIVE = mapping_named("relative")


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_it_chooses_what_filter_chooses(name: str) -> None:
    """Whatever came and went before, for every policy."""
    trace = setting(nodes=8, pods=150)
    records = [node_record(node, f"node-{at}", RELATIVE) for at, node in enumerate(trace.nodes)]
    contender = parse_contender(f"{name}@list" if name in ("fgd", "price-fit", "price-fit-robust") else name)
    policy = Learner(contender, records, [request_of(pod, RELATIVE) for pod in trace.pods]).policy
    cluster = Packing(records, policy, unit_mib=UNIT_MIB)
    random = Random(7)
    placed: list[str] = []
    for number, pod in enumerate(trace.pods):
        request = request_of(pod, RELATIVE)
        roomy = [
            node.name
            for node in cluster.nodes
            if node.cpu_free_milli >= request.cpu_milli and node.memory_free_bytes >= request.memory_bytes
        ]
        best = filter_from_scratch(cluster.ledger.snapshot(), roomy, request, policy).best(1)
        plan = cluster.place(str(number), request)
        assert (plan.node, plan.cost) == (best[0].node, best[0].fit.cost) if plan else not best
        if plan:
            placed.append(str(number))
        if len(placed) > 3 and random.random() < 0.4:
            cluster.remove(placed.pop(random.randrange(len(placed))))


def test_random_ties_depend_on_the_seed_only() -> None:
    """The same seed, the same nodes."""
    trace = setting(nodes=8, pods=60)
    records = [node_record(node, f"node-{at}", RELATIVE) for at, node in enumerate(trace.nodes)]

    def chosen(seed: int) -> list[str]:
        cluster = Packing(records, POLICIES["random"], unit_mib=UNIT_MIB, draws=Random(seed))
        plans = [cluster.place(str(at), request_of(pod, RELATIVE)) for at, pod in enumerate(trace.pods)]
        return [plan.node if plan else "" for plan in plans]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
