"""Kubernetes JSON becomes the ledger's records: requests as the kubelet counts them, and errors for bad input."""

from typing import Any

import pytest

from extender.contract.containers import ContainerKind
from extender.contract.names import Names
from extender.decoding.decoder import Decoder
from extender.kube.objects import DecodeError
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.pods.request import ContainerRequest, pod_request
from tests.extender.objects import UNIT_MIB, allocation, container, node, pod, raw, sidecar, uuid

Json = dict[str, Any]
DECODER = Decoder(Names(), UNIT_MIB)


def record(body: Json) -> PodRecord:
    """The record of a pod."""
    return DECODER.pod(raw(body))


def error_of(**fields: Any) -> str:
    """The request_error of a pending pod."""
    decoded = record(pod("train", **fields))
    assert decoded.request is None
    return decoded.request_error


class Warnings:
    """Keeps what a decoder warns of."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.decoder = Decoder(Names(), UNIT_MIB, warn=self.texts.append)


def test_identity_and_order_come_from_the_metadata() -> None:
    """Namespace, name, UID, resource version, node, priority and scheduler."""
    body = pod("train", 8, version=42, node="node-a", priority=7, schedulerName="second")
    decoded = record(body)
    assert (decoded.namespace, decoded.name, decoded.uid, decoded.resource_version) == (
        "default",
        "train",
        "uid-train",
        42,
    )
    assert (decoded.node, decoded.priority, decoded.scheduler) == ("node-a", 7, "second")
    assert record(pod("train", 8)).priority == 0


def test_every_container_that_asks_is_in_the_request_in_admission_order() -> None:
    """Lesson 2: several containers, plain init containers and sidecars."""
    body = pod(
        "train",
        containers=[container("a", 4), container("idle"), container("b", gpus=2)],
        init=[container("prepare", 6), sidecar("proxy", 1)],
    )
    expected = pod_request(
        (
            ContainerRequest("prepare", ContainerKind.INIT, 6),
            ContainerRequest("proxy", ContainerKind.SIDECAR, 1),
            ContainerRequest("a", ContainerKind.APP, 4),
            ContainerRequest("b", ContainerKind.APP, 0, 2),
        )
    )
    decoded = record(body)
    assert decoded.request == expected
    assert decoded.request is not None
    assert expected.containers == decoded.request.containers


@pytest.mark.parametrize("body", [pod("plain"), pod("zero", "0"), pod("none", 0)])
def test_a_pod_that_asks_for_nothing_has_no_request_and_no_error(body: Json) -> None:
    """Quantity 0 is nothing, too."""
    decoded = record(body)
    assert (decoded.request, decoded.request_error) == (None, "")


@pytest.mark.parametrize(
    ("limit", "units"), [("8", 8), (8, 8), (8.0, 8), ("10k", 10_000), ("1Ki", 1024), ("8e1", 80), ("+8", 8)]
)
def test_gpu_mem_may_be_any_form_of_quantity(limit: object, units: int) -> None:
    """The API server hands quantities back in its own canonical form."""
    request = record(pod("train", limit)).request
    assert request is not None
    assert units == request.memory_units


@pytest.mark.parametrize("limit", ["8Gi", "-1", "1048577"])
def test_absurd_gpu_mem_is_refused_with_the_value_and_what_was_expected(limit: str) -> None:
    """8Gi of units is 8,589,934,592 units: nobody means that."""
    message = error_of(mem=limit)
    assert message.startswith("container main: gpu-mem is ")
    assert "expected 0 to 1048576 units; ask for a plain number such as 8, not 8Gi" in message


@pytest.mark.parametrize("limit", ["many", "8 GB", "1e999", "9" * 80])
def test_unreadable_gpu_mem_is_refused_with_the_value(limit: str) -> None:
    """Text that is no quantity."""
    message = error_of(mem=limit)
    assert f"quantity {limit[:64]!r}: expected" in message


def test_compute_is_read_in_any_form_of_quantity() -> None:
    """Percent of one GPU, beside memory."""
    decoded = record(pod("train", 8, core="3e1"))
    assert decoded.request == pod_request((ContainerRequest("main", ContainerKind.APP, 8, 0, 30),))
    assert record(pod("train", 8, core="0")).request == record(pod("train", 8)).request


def test_compute_alone_is_refused() -> None:
    """A container without memory of a GPU has no GPU."""
    assert record(pod("train", core=30)).request_error == (
        "container main: asks for gpu-core without gpu-mem, expected both"
    )


def test_gpu_mem_and_whole_gpus_in_one_container_are_refused() -> None:
    """They exclude each other."""
    assert "main: asks for gpu-mem and for whole GPUs, expected one of them" in error_of(mem=4, gpus=1)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        ("gpu-count", "two", "annotation gpupack.io/gpu-count is 'two', expected a number of GPUs"),
        ("gpu-count", "", "annotation gpupack.io/gpu-count is '', expected a number of GPUs"),
        ("gpu-count", "-2", "annotation gpupack.io/gpu-count is '-2', expected a number of GPUs"),
        ("gpu-count", "٣", "annotation gpupack.io/gpu-count is '٣', expected a number of GPUs"),
        ("gpu-count", "0", "gpu-count is 0, expected 1 or more GPUs"),
        ("gpu-count", "3", "container main: gpu-mem 8 is not divisible by gpu-count 3"),
        ("gpu-model", "", "gpu-model '': expected patterns such as A100*,!*MIG*"),
        ("gpu-model", "A100,,T4", "gpu-model 'A100,,T4': expected patterns such as A100*,!*MIG*"),
        ("policy", "best", "policy 'best': expected one of "),
    ],
)
def test_a_malformed_annotation_rejects_the_pod(annotation: str, value: str, message: str) -> None:
    """Never ignored: the error names the annotation, the value and what was expected."""
    assert message in error_of(mem=8, annotations={annotation: value})


def test_well_formed_annotations_are_in_the_request() -> None:
    """gpu-count, gpu-model and policy."""
    annotations = {"gpu-count": "2", "gpu-model": "A100*,!*MIG*", "policy": "spread"}
    request = record(pod("train", 8, annotations=annotations)).request
    assert request is not None
    assert (request.gpu_count, request.policy) == (2, "spread")
    assert (request.models.accepted, request.models.refused) == (("A100*",), ("*MIG*",))


@pytest.mark.parametrize("annotations", [{"gpu-count": "two"}, {"gpu-model": ","}, {"policy": "best"}])
def test_a_bound_pod_with_senseless_annotations_is_charged_by_its_spec(annotations: dict[str, str]) -> None:
    """Lesson 13: what a tenant writes must not hide what the pod uses."""
    plan = allocation({"main": {uuid("node-a", 0): 8}})
    decoded = record(pod("train", 8, node="node-a", annotations={**annotations, "allocation": plan}))
    assert decoded.request is not None
    assert decoded.request.memory_units == 8
    assert decoded.footprint is not None
    assert decoded.footprint.shares == {uuid("node-a", 0): 8}


def test_lesson_13_a_changed_gpu_count_hides_no_compute() -> None:
    """150 percent of one GPU is invalid, but this pod has them, on two."""
    where = allocation({"main": {"GPU-a": 4, "GPU-b": 4}})
    decoded = record(pod("train", 8, core=150, node="node-a", annotations={"gpu-count": "3", "allocated": where}))
    assert decoded.footprint is not None
    assert dict(decoded.footprint.cores) == {"GPU-a": 75, "GPU-b": 75}


def test_a_bound_pod_that_no_kubelet_admits_is_no_request() -> None:
    """Absurd amounts: the pod failed at admission, it holds nothing."""
    decoded = record(pod("train", "8Gi", node="node-a"))
    assert decoded.request is None
    assert "gpu-mem is 8589934592" in decoded.request_error


def test_the_plan_is_believed_until_the_kubelet_has_told_the_truth() -> None:
    """Actual wins over the plan."""
    plan = allocation({"main": {uuid("node-a", 0): 8}})
    actual = allocation({"main": {uuid("node-a", 1): 8}})
    planned = record(pod("train", 8, node="node-a", annotations={"allocation": plan})).footprint
    given = record(pod("train", 8, node="node-a", annotations={"allocation": plan, "allocated": actual})).footprint
    assert planned is not None
    assert given is not None
    assert (planned.shares, given.shares) == ({uuid("node-a", 0): 8}, {uuid("node-a", 1): 8})


def test_allocation_annotations_of_a_pending_pod_are_not_read() -> None:
    """Only a Binding brings them; a tenant's own say nothing."""
    plan = allocation({"main": {uuid("node-a", 0): 8}})
    assert record(pod("train", 8, annotations={"allocation": plan})).footprint is None


def test_a_pending_pod_that_says_it_was_allocated_is_marked() -> None:
    """Only a kubelet's word counts, and no kubelet has seen it: a tenant wrote that, to sit on GPUs of its choice."""
    forged = {"allocated": allocation({"main": {uuid("node-a", 0): 8}})}
    pending = record(pod("train", 8, annotations=forged))
    assert (pending.claims_allocated, pending.footprint) == (True, None)
    assert record(pod("train", 8, annotations={"allocated": ""})).claims_allocated
    assert not record(pod("train", 8, node="node-a", annotations=forged)).claims_allocated
    assert not record(pod("train", 8, annotations={"allocation": forged["allocated"]})).claims_allocated


@pytest.mark.parametrize(
    "text",
    [
        '{"version":2,"unitMib":1024,"containers":{}}',
        "{",
        "[]",
        '{"version":1,"unitMib":1024,"containers":{"main":{"GPU-0":-8}}}',
        '{"version":1,"unitMib":1000,"containers":{}}',
        "[" * 20_000,
        "x" * 300_000,
    ],
)
@pytest.mark.parametrize("annotation", ["allocation", "allocated"])
def test_an_unreadable_allocation_is_warned_of_and_not_used(annotation: str, text: str) -> None:
    """A newer version, or corrupt: the pod is charged where it hurts most."""
    warnings = Warnings()
    decoded = warnings.decoder.pod(raw(pod("train", 8, node="node-a", annotations={annotation: text})))
    assert decoded.footprint is None
    assert decoded.request is not None
    (warning,) = warnings.texts
    assert warning.startswith(f"pod default/train: annotation gpupack.io/{annotation} is not used: ")


@pytest.mark.parametrize("text", ['{"version":2,"unitMib":1024,"gpus":[]}', "{", '{"version":1,"unitMib":1024}'])
def test_an_unreadable_inventory_is_warned_of_and_not_used(text: str) -> None:
    """The node then has no inventory, and says why."""
    warnings = Warnings()
    decoded = warnings.decoder.node(raw(node("node-a", 16, annotations={"inventory": text})))
    assert decoded.inventory is None
    assert decoded.inventory_error
    assert warnings.texts == [f"node node-a: annotation gpupack.io/inventory is not used: {decoded.inventory_error}"]


def test_a_node_says_its_gpus_and_what_the_kubelet_offers() -> None:
    """Inventory, and allocatable in any form of quantity."""
    decoded = DECODER.node(raw(node("node-a", 16, 40, version=5, cpu="63500m", memory="1Gi")))
    assert decoded.inventory is not None
    assert [gpu.uuid for gpu in decoded.inventory.gpus] == [uuid("node-a", 0), uuid("node-a", 1)]
    assert (decoded.memory_units, decoded.whole_gpus, decoded.core_percent) == (56, 2, 200)
    assert (decoded.cpu_milli, decoded.memory_bytes, decoded.resource_version) == (63_500, 2**30, 5)


def test_a_node_without_the_resources_offers_none() -> None:
    """Absent is not zero: the plugin is not there."""
    decoded = DECODER.node(raw(node("node-a")))
    assert (decoded.inventory, decoded.memory_units, decoded.whole_gpus) == (None, None, None)
    assert decoded.core_percent is None
    bare = DECODER.node(raw({**node("node-a"), "status": {"allocatable": {}}}))
    assert (bare.cpu_milli, bare.memory_bytes) == (0, 0)


def test_unknown_fields_are_ignored() -> None:
    """A newer API server sends fields that nobody here knows."""
    body = pod("train", 8)
    body["spec"]["newField"] = {"deep": [1, {"x": None}]}
    body["status"]["newField"] = "x"
    body["more"] = [[[]]]
    assert record(body) == record(pod("train", 8))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"metadata":',
        b"{}",
        b'{"metadata":{},"spec":null}',
        b'{"metadata":{"resourceVersion":"1","annotations":{"a":1}},"spec":{}}',
        b'{"metadata":{"resourceVersion":"1","name":"\xff"},"spec":{}}',
        b'{"metadata":{"resourceVersion":"abc"},"spec":{}}',
        b'{"metadata":{"resourceVersion":""},"spec":{}}',
        '{"metadata":{"resourceVersion":"²2001"},"spec":{}}'.encode(),
        b'{"metadata":{"resourceVersion":"' + b"9" * 5000 + b'"},"spec":{}}',
        b'{"metadata":{"resourceVersion":"1"},"spec":{},"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_pod_or_node_is_a_decode_error(body: bytes) -> None:
    """Wrong types, truncated JSON, bad UTF-8, absurd nesting: one kind of error, and no other."""
    with pytest.raises(DecodeError):
        DECODER.pod(body)
    with pytest.raises(DecodeError):
        DECODER.node(body)


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (b'{"containers":{}}', "$.spec.containers"),
        (b'{"priority":"high"}', "$.spec.priority"),
        (b'{"containers":[{"resources":{"limits":{"gpupack.io/gpu-mem":[]}}}]}', "$.spec.containers[0].resources"),
    ],
)
def test_a_decode_error_names_the_field(spec: bytes, where: str) -> None:
    """The path inside the object."""
    with pytest.raises(DecodeError) as caught:
        DECODER.pod(b'{"metadata":{"resourceVersion":"1"},"spec":' + spec + b"}")
    assert where in str(caught.value)


def statuses(*states: str) -> list[Json]:
    """Container statuses; `terminated`, `running` or `waiting`."""
    return [{"name": str(at), "state": {state: {}}} for at, state in enumerate(states)]


@pytest.mark.parametrize(
    ("phase", "deleting", "apps", "inits", "ended"),
    [
        ("Running", False, ["running"], [], False),
        ("Succeeded", False, ["terminated"], [], True),
        ("Failed", False, [], [], True),
        ("Running", False, ["terminated"], [], False),
        ("Running", True, ["running"], [], False),
        ("Running", True, ["terminated"], [], True),
        ("Running", True, ["terminated", "running"], [], False),
        ("Running", True, ["terminated", "terminated"], [], True),
        ("Pending", True, ["waiting"], ["running"], False),
        ("Running", True, ["terminated"], ["running"], False),
        ("Running", True, ["terminated"], ["terminated"], True),
        ("Pending", True, [], [], False),
    ],
)
def test_lesson_5_a_terminating_pod_holds_until_every_container_has_stopped(
    *, phase: str, deleting: bool, apps: list[str], inits: list[str], ended: bool
) -> None:
    """Sidecars included; a pod without statuses may still be started by its kubelet."""
    body = pod(
        "train",
        node="node-a",
        containers=[container(f"c{at}", 4) for at in range(max(1, len(apps)))],
        init=[sidecar(f"s{at}", 1) for at in range(len(inits))],
        status={
            "phase": phase,
            "containerStatuses": statuses(*apps),
            "initContainerStatuses": statuses(*inits),
        },
        deleting=deleting,
    )
    assert ended == record(body).ended


def test_kube_schedulers_verdict_is_read_from_the_conditions() -> None:
    """So that pods refused before a restart can be woken after it."""
    verdict = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    gated = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]
    actual = [record(pod("a", 8, status={"conditions": each})).unschedulable for each in (verdict, gated, [])]
    assert actual == [True, False, False]


def test_why_the_latest_try_failed_is_read_from_the_conditions() -> None:
    """Reason and text, while the pod is pending; equal ones are kept once."""
    failed = {"type": "PodScheduled", "status": "False", "reason": "SchedulerError", "message": "no volume"}
    ready = {"type": "Ready", "status": "False", "reason": "x", "message": "y"}
    refusals = [record(pod(name, 8, status={"conditions": [ready, failed]})).refusal for name in ("a", "b")]
    assert refusals == ["SchedulerError: no volume"] * 2
    assert refusals[0] is refusals[1]
    placed = {"type": "PodScheduled", "status": "True"}
    quiet = [pod("a", 8, status={"conditions": [placed]}), pod("a", 8, node="n", status={"conditions": [failed]})]
    assert [record(body).refusal for body in quiet] == ["", ""]
