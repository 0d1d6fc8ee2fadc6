"""The extender's own state, fed by its watch, puts pods where the replay puts them."""

from datetime import UTC, datetime

import pytest

from bench.replay.deciding.learning import parse_contender
from bench.replay.deciding.mapping import UNIT_MIB, mapping_named, node_record, request_of
from bench.replay.deciding.run import Run
from extender.scheduling.ledger.events import NodeChanged, PodChanged, PodRecord
from extender.scheduling.pods.footprint import Footprint
from extender.server.learning import Learning
from extender.server.record.decisions import Decisions
from extender.server.state.outcomes import Passed
from extender.server.state.state import State
from tests.bench.replay.traces import setting

RELATIVE = mapping_named("relative")


@pytest.mark.parametrize("policy", ["binpack", "price-fit", "price-fit-robust"])
def test_the_live_state_decides_as_the_replay_does(policy: str) -> None:
    """Learning on the way, with CPU and memory filtered before, as kube-scheduler does."""
    trace = setting(nodes=20, pods=260)
    state = State(
        unit_mib=UNIT_MIB,
        policy=policy,
        answers=1,
        hold_s=30.0,
        clock=lambda: 0.0,
        view_problem=lambda: None,
        decisions=Decisions(lambda: datetime.now(UTC)),
    )
    for at, node in enumerate(trace.nodes):
        state.apply(NodeChanged(node_record(node, f"node-{at:02d}", RELATIVE)))
    learning = Learning(state)
    learning.round(force=True)
    run = Run(parse_contender(policy), trace.nodes, trace.pods, RELATIVE, 1)
    learned = 0
    for number, traced in enumerate(trace.pods, start=1):
        plan = run.arrive(str(number), traced)
        request = request_of(traced, RELATIVE)
        pending = PodRecord(
            str(number),
            resource_version=2 * number,
            request=request if request.demands else None,
            cpu_milli=request.cpu_milli,
            memory_bytes=request.memory_bytes,
        )
        learning.observe([pending])
        learned += learning.round(force=False)
        if request.demands:
            assert _decided(state, pending) == (plan.node if plan else "")
        if plan is not None:
            state.apply(PodChanged(_bound(pending, number, plan.node, plan.footprint)))
    assert learned + 1 == run.adopted or policy == "binpack"


def _decided(state: State, pod: PodRecord) -> str:
    roomy = [
        name
        for name, node in state.snapshot().nodes.items()
        if node.cpu_free_milli >= pod.cpu_milli and node.memory_free_bytes >= pod.memory_bytes
    ]
    outcome = state.filter(pod, roomy)
    return outcome.names[0] if isinstance(outcome, Passed) else ""


def _bound(pod: PodRecord, number: int, node: str, footprint: Footprint) -> PodRecord:
    return PodRecord(
        pod.uid,
        resource_version=2 * number + 1,
        node=node,
        request=pod.request,
        footprint=footprint if pod.request else None,
        cpu_milli=pod.cpu_milli,
        memory_bytes=pod.memory_bytes,
    )
