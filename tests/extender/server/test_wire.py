"""kube-scheduler's calls and our answers, held against recorded calls and against a strict model of its Go types."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.decoding.decoder import Decoder
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.preempting.victims import Victims
from extender.server.wire import (
    BindingArgs,
    CalledPods,
    decode_binding_args,
    decode_extender_args,
    decode_preemption_args,
    encode_bind_answer,
    encode_feasible,
    encode_filter_error,
    encode_infeasible,
    encode_scores,
    encode_victims,
)
from tests.extender import golden
from tests.extender.go_answers import BindingResult, FilterResult, HostPriority, PreemptionResult, read
from tests.extender.objects import bind_call, filter_call, pod, raw

DECODER = Decoder(Names(prefix="example.com"), UnitMib(1024))
NAMES = st.lists(st.text(min_size=1), unique=True)


def loaded(name: str) -> Any:
    """A recorded body, read by another JSON library."""
    return json.loads(golden.body(name))


def pod_of(name: str) -> PodRecord:
    """The pod of a recorded call."""
    decode = decode_preemption_args if name.startswith("preempt") else decode_extender_args
    return DECODER.pod(decode(golden.body(name)).pod)


@pytest.mark.parametrize("name", [name for name in golden.EXCHANGES if not name.startswith("bind")])
def test_every_recorded_pod_is_read(name: str) -> None:
    """Identity, and what all containers ask for together."""
    sent = loaded(name)["Pod"]
    asked = [int(each["resources"]["limits"]["example.com/gpu-mem"]) for each in sent["spec"]["containers"]]
    decoded = pod_of(name)
    assert decoded.request is not None
    assert sum(asked) == decoded.request.memory_units
    assert sent["metadata"]["uid"] == decoded.uid
    assert sent["metadata"]["name"] == decoded.name
    assert int(sent["metadata"]["resourceVersion"]) == decoded.resource_version
    assert sent["spec"]["priority"] == decoded.priority
    assert (decoded.node, decoded.request_error, decoded.ended) == ("", "", False)


def test_the_recorded_amounts_are_those_on_the_page() -> None:
    """A guard for the test above: two containers of 8 and 4, 500m and 1Gi."""
    decoded = pod_of("filter-realistic-pod")
    assert decoded.request is not None
    assert [each.units for each in decoded.request.demands] == [8, 4]
    assert (decoded.cpu_milli, decoded.memory_bytes) == (500, 2**30)


def test_a_recorded_retry_carries_kube_schedulers_verdict() -> None:
    """The status that kube-scheduler has written meanwhile."""
    assert [pod_of(f"filter-{name}").unschedulable for name in ("retry-with-condition", "realistic-pod")] == [
        True,
        False,
    ]


@pytest.mark.parametrize("verb", ["filter", "prioritize"])
def test_both_recorded_forms_name_the_nodes_in_the_order_sent(verb: str) -> None:
    """By name and whole."""
    by_name = list(decode_extender_args(golden.body(f"{verb}-nodeCacheCapable-true")).names())
    whole = list(decode_extender_args(golden.body(f"{verb}-nodeCacheCapable-false")).names())
    assert by_name == loaded(f"{verb}-nodeCacheCapable-true")["NodeNames"]
    items = loaded(f"{verb}-nodeCacheCapable-false")["Nodes"]["items"]
    assert whole == [node["metadata"]["name"] for node in items]


def test_victims_of_both_recorded_forms_are_read_alike() -> None:
    """UIDs and disruption budgets, from meta victims and from whole pods."""
    meta = decode_preemption_args(golden.body("preempt-nodeCacheCapable-true")).candidates()
    whole = decode_preemption_args(golden.body("preempt-nodeCacheCapable-false")).candidates()
    sent_meta = loaded("preempt-nodeCacheCapable-true")["NodeNameToMetaVictims"]
    sent_whole = loaded("preempt-nodeCacheCapable-false")["NodeNameToVictims"]
    assert len(meta) == len(whole) == 20
    assert meta == {
        node: Victims(tuple(each["UID"] for each in victims["Pods"]), victims["NumPDBViolations"])
        for node, victims in sent_meta.items()
    }
    assert whole == {
        node: Victims(tuple(each["metadata"]["uid"] for each in victims["Pods"]), victims["NumPDBViolations"])
        for node, victims in sent_whole.items()
    }


@pytest.mark.parametrize("mode", ["true", "false"])
def test_recorded_binds_are_read(mode: str) -> None:
    """Identical in both modes."""
    sent = loaded(f"bind-nodeCacheCapable-{mode}")
    expected = BindingArgs(sent["PodName"], sent["PodNamespace"], sent["PodUID"], sent["Node"])
    assert expected == decode_binding_args(golden.body(f"bind-nodeCacheCapable-{mode}"))


def test_answers_that_kube_scheduler_accepted_pass_the_strict_model() -> None:
    """The model refuses nothing that the real decoder took."""
    kinds = {
        "filter": FilterResult,
        "prioritize": list[HostPriority],
        "bind": BindingResult,
        "preempt": PreemptionResult,
    }
    checked = 0
    for name, exchange in golden.EXCHANGES.items():
        if "resp_body" in exchange:
            read(exchange["resp_body"].encode(), kinds[name.split("-")[0]])
            checked += 1
    assert checked == 10


def test_whole_nodes_come_back_byte_for_byte() -> None:
    """With nodeCacheCapable false, the chosen nodes exactly as they were sent, nothing re-encoded."""
    body = golden.body("filter-nodeCacheCapable-false")
    args = decode_extender_args(body)
    chosen = list(args.names())[3:5]
    answer = read(encode_feasible(args, chosen), FilterResult)
    assert answer.nodes is not None
    assert [json.loads(bytes(item))["metadata"]["name"] for item in answer.nodes.items] == chosen
    assert all(bytes(item) in body for item in answer.nodes.items)
    assert answer.error == ""


@given(NAMES, NAMES)
def test_a_filter_answer_by_name_survives_go(asked: list[str], chosen: list[str]) -> None:
    """The names, and no error."""
    args = decode_extender_args(filter_call(pod("train", 8), asked))
    assert read(encode_feasible(args, chosen), FilterResult) == FilterResult(node_names=chosen)


@given(st.dictionaries(st.text(), st.text()))
def test_trap_a_refusals_are_unresolvable(reasons: dict[str, str]) -> None:
    """In FailedAndUnresolvableNodes, never in FailedNodes, where they would start preemption and a hot loop."""
    args = decode_extender_args(filter_call(pod("train", 8), reasons))
    expected = FilterResult(node_names=[], failed_and_unresolvable_nodes=reasons)
    assert read(encode_infeasible(args, reasons), FilterResult) == expected


def test_refusals_of_whole_nodes_are_empty_lists() -> None:
    """An answer without nodes must still have the list."""
    args = decode_extender_args(golden.body("filter-nodeCacheCapable-false"))
    answer = read(encode_infeasible(args, {"n00010": "full"}), FilterResult)
    expected = FilterResult(nodes=answer.nodes, failed_and_unresolvable_nodes={"n00010": "full"})
    assert answer == expected
    assert answer.nodes is not None
    assert answer.nodes.items == []


@given(st.text())
def test_errors_survive_go(text: str) -> None:
    """Whatever the text."""
    assert read(encode_filter_error(text), FilterResult) == FilterResult(error=text)
    assert read(encode_bind_answer(text), BindingResult) == BindingResult(error=text)


@given(st.lists(st.tuples(st.text(), st.integers(0, 10))))
def test_scores_are_whole_numbers(scores: list[tuple[str, int]]) -> None:
    """A fraction would make kube-scheduler drop the whole answer."""
    body = encode_scores(scores)
    assert [(each.host, each.score) for each in read(body, list[HostPriority])] == scores
    assert all(isinstance(each["Score"], int) for each in json.loads(body))


@given(st.dictionaries(st.text(), st.tuples(st.lists(st.text()), st.integers(0, 9))))
def test_victims_survive_go(answers: dict[str, tuple[list[str], int]]) -> None:
    """UIDs, in order, and disruption budgets."""
    victims = {node: Victims(tuple(uids), violations) for node, (uids, violations) in answers.items()}
    actual = read(encode_victims(victims), PreemptionResult).node_name_to_meta_victims
    assert {n: ([each.uid for each in v.pods], v.violations) for n, v in actual.items()} == answers


CALL = filter_call(pod("train", 8), ["a"])


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "ExtenderArgs"),
        (CALL[:-5], "ExtenderArgs"),
        (b"[]", "ExtenderArgs"),
        (raw({"NodeNames": ["a"]}), "`Pod`"),
        (raw({"Pod": pod("train"), "NodeNames": "a"}), "$.NodeNames"),
        (raw({"Pod": pod("train"), "NodeNames": [1]}), "$.NodeNames[0]"),
        (raw({"Pod": pod("train"), "Nodes": {"items": 3}}), "$.Nodes.items"),
        (b'{"x":' + b"[" * 200_000, "ExtenderArgs"),
    ],
)
def test_an_unreadable_call_is_a_decode_error_that_names_the_field(body: bytes, names: str) -> None:
    """Truncated, mistyped, not UTF-8, absurdly nested."""
    with pytest.raises(DecodeError) as caught:
        decode_extender_args(body)
    assert str(caught.value).startswith("ExtenderArgs: ")
    assert names in str(caught.value)


@pytest.mark.parametrize(
    ("pod_json", "names"),
    [
        (b"null", "got `null`"),
        (b'"train"', "got `str`"),
        (b'{"metadata":{}}', "`spec`"),
        (b'{"metadata":"\xff"}', "Pod: "),
    ],
)
def test_an_unreadable_pod_is_a_decode_error_that_says_so(pod_json: bytes, names: str) -> None:
    """Whatever else the call says; and what was read before is not taken for it."""
    pods = CalledPods(DECODER)
    assert pods.record(decode_extender_args(CALL).pod).name == "train"
    with pytest.raises(DecodeError) as caught:
        pods.record(decode_extender_args(b'{"Pod":%b,"NodeNames":["a"]}' % pod_json).pod)
    assert str(caught.value).startswith("Pod: ")
    assert names in str(caught.value)


def test_the_pod_of_the_call_before_is_not_read_again() -> None:
    """The same bytes are the same record; any other byte makes another."""
    pods, args = CalledPods(DECODER), decode_extender_args(CALL)
    first = pods.record(args.pod)
    assert pods.record(decode_extender_args(CALL).pod) is first
    other = pods.record(msgspec.Raw(bytes(args.pod).replace(b"train", b"trail")))
    assert (first.name, other.name) == ("train", "trail")
    assert pods.record(args.pod) == first


def test_a_call_without_any_nodes_is_a_decode_error() -> None:
    """Neither names nor nodes; an empty list of names is a list."""
    with pytest.raises(DecodeError, match="NodeNames and Nodes are both absent, expected one of them"):
        decode_extender_args(raw({"Pod": pod("train", 8)})).names()
    assert list(decode_extender_args(raw({"Pod": pod("train", 8), "NodeNames": []})).names()) == []


@pytest.mark.parametrize("item", [3, {}, {"metadata": {"name": 3}}, None])
def test_whole_nodes_that_are_none_are_a_decode_error(item: object) -> None:
    """One bad Node in the list."""
    args = decode_extender_args(raw({"Pod": pod("train"), "Nodes": {"items": [item]}}))
    with pytest.raises(DecodeError, match="Nodes: "):
        args.names()


@pytest.mark.parametrize("field", ["PodName", "PodNamespace", "PodUID", "Node"])
@pytest.mark.parametrize("value", [..., "", 7, None, "a/../b", "a?b"])
def test_a_bind_needs_every_field(field: str, value: object) -> None:
    """Absent, empty or what could not be an object's name."""
    body = json.loads(bind_call("train", "node-a"))
    body.pop(field) if value is ... else body.update({field: value})
    with pytest.raises(DecodeError) as caught:
        decode_binding_args(raw(body))
    assert field in str(caught.value)


def test_a_bad_preempt_is_a_decode_error() -> None:
    """The path inside the call."""
    with pytest.raises(DecodeError, match=r"ExtenderPreemptionArgs: .*NodeNameToMetaVictims"):
        decode_preemption_args(raw({"Pod": pod("train"), "NodeNameToMetaVictims": {"n": {"Pods": [{}]}}}))


def test_a_preempt_without_candidates_has_none() -> None:
    """Both forms null, and null lists inside."""
    empty = {"Pod": pod("train"), "NodeNameToVictims": None, "NodeNameToMetaVictims": None}
    assert decode_preemption_args(raw(empty)).candidates() == {}
    without = {"Pod": pod("train"), "NodeNameToMetaVictims": {"n": {"Pods": None, "NumPDBViolations": 1}}}
    assert decode_preemption_args(raw(without)).candidates() == {"n": Victims((), 1)}


def test_unknown_keys_of_a_newer_kube_scheduler_are_ignored() -> None:
    """At the top and inside."""
    body = {**json.loads(CALL), "NewField": {"a": [1]}}
    assert list(decode_extender_args(raw(body)).names()) == ["a"]
    assert msgspec.structs.asdict(decode_binding_args(raw({**json.loads(bind_call("a", "b")), "X": 1})))["node"] == "b"


def test_a_node_that_victims_are_leaving_is_not_out_of_reach() -> None:
    """In FailedNodes, so that kube-scheduler waits for them instead of evicting others."""
    args = decode_extender_args(filter_call(pod("train", 8), ["a", "b"]))
    expected = FilterResult(node_names=[], failed_nodes={"a": "leaving"}, failed_and_unresolvable_nodes={"b": "full"})
    reasons = {"a": "leaving", "b": "full"}
    assert read(encode_infeasible(args, reasons, frozenset({"a"})), FilterResult) == expected
