"""What is remembered of a spec changes nothing but the time that it takes, and is bounded."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.names import Names
from extender.decoding.decoder import MAX_PLACE_CHARACTERS, Decoder
from extender.decoding.requests import MAX_REMEMBERED_BYTES, Asking
from extender.kube.objects import Pod
from extender.scheduling.ledger.events import PodRecord
from tests.extender.objects import UNIT_MIB, Json, allocation, container, pod, raw, sidecar, uuid

DECODER = Decoder(Names(), UNIT_MIB)
GPU = uuid("a", 0)
amounts = st.sampled_from([None, 0, 1, "4", "8Gi", "x", -1])
names = st.sampled_from(["main", "other"])
containers = st.builds(container, names, amounts, gpus=amounts, core=amounts, cpu=st.sampled_from(["1", "250m", "?"]))
inits = st.builds(container, names, amounts) | st.builds(sidecar, names, amounts)
annotations = st.fixed_dictionaries(
    {},
    optional={
        "gpu-count": st.sampled_from(["1", "2", "0", "many"]),
        "gpu-model": st.sampled_from(["T4", "!T4", ""]),
        "policy": st.sampled_from(["binpack", "spread", "nonsense", ""]),
        "allocation": st.sampled_from(["", "{", allocation({"main": {GPU: 4}}), allocation({"other": {GPU: 4}})]),
        "allocated": st.sampled_from(["", "[]", allocation({"main": {uuid("a", 1): 4}})]),
    },
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "overhead": st.sampled_from([None, {"cpu": "100m"}]),
        "resources": st.sampled_from([None, {}, {"requests": {"cpu": "3", "memory": 7}}]),
    },
)
pods = st.builds(
    lambda containers, init, annotations, node, spec: pod(
        "train", containers=containers, init=init, annotations=annotations, node=node, **spec
    ),
    st.lists(containers, min_size=1, max_size=2),
    st.lists(inits, max_size=2),
    annotations,
    st.sampled_from(["", "a"]),
    specs,
)


def said(decoder: Decoder, body: Json) -> PodRecord:
    """The record of a pod."""
    return decoder.pod(raw(body))


@given(st.lists(pods, min_size=1, max_size=6))
def test_what_was_read_before_changes_no_record(bodies: list[Json]) -> None:
    """Container names count, too: equal requests leave them out."""
    for body in bodies:
        expected, decoded = said(Decoder(Names(), UNIT_MIB), body), said(DECODER, body)
        assert expected == decoded
        asked = None if expected.request is None else expected.request.containers
        assert asked == (None if decoded.request is None else decoded.request.containers)


def test_the_same_texts_are_read_once() -> None:
    """Pods of one shape share their request, and shows of one pod its footprint."""
    plan = allocation({"main": {GPU: 4}})
    first, second = (
        said(DECODER, pod("train", 4, node="a", version=at, annotations={"allocation": plan})) for at in (1, 2)
    )
    assert first.request is second.request
    assert first.footprint is second.footprint


def test_long_texts_are_not_kept() -> None:
    """Else a few thousand of them would fill the memory."""
    asking = Asking(Names())
    long = container("main", 4, **{f"example.com/{'x' * MAX_REMEMBERED_BYTES}": "1"})
    for body in (pod("long", containers=[long]), pod("short", 4)):
        asking.of(msgspec.json.decode(raw(body), type=Pod).spec, {})
    assert asking.remembered == 1


def test_long_annotations_are_not_kept_either() -> None:
    """Neither those that say what is wanted nor those that say where the pod is."""
    asking, spec = Asking(Names()), msgspec.json.decode(raw(pod("train", 4)), type=Pod).spec
    for name in ("gpu-count", "gpu-model", "policy"):
        asking.of(spec, {f"gpupack.io/{name}": "x" * MAX_REMEMBERED_BYTES})
    assert asking.remembered == 0
    long = allocation({"main": {GPU: 4}}) + " " * (MAX_PLACE_CHARACTERS // 2)
    body = pod("train", 4, node="a", annotations={"allocation": long, "allocated": long})
    first, second = said(DECODER, body), said(DECODER, body)
    assert first.footprint == second.footprint
    assert first.footprint is not second.footprint


def test_two_installations_read_the_same_texts_apart() -> None:
    """Each by its own names."""
    body = pod("train", 4)
    assert said(Decoder(Names("example.com"), UNIT_MIB), body).request is None
    assert said(DECODER, body).request is not None


@pytest.mark.parametrize(
    ("init", "apps", "expected"),
    [
        ([], ["1", "2"], 3),
        ([container("i", cpu="5")], ["1", "2"], 5),
        ([container("i", cpu="2"), container("j", cpu="4")], ["1", "2"], 4),
        ([container("i", cpu="2"), container("j", cpu="1")], ["1", "2"], 3),
        ([sidecar("s", cpu="2")], ["1", "2"], 5),
        ([sidecar("s", cpu="2"), container("i", cpu="4")], ["1"], 6),
        ([container("i", cpu="4"), sidecar("s", cpu="2")], ["1"], 4),
        ([sidecar("s", cpu="2"), sidecar("t", cpu="3")], [], 5),
        ([container("i", cpu="1"), sidecar("s", cpu="2")], ["3"], 5),
    ],
)
@pytest.mark.parametrize("overhead", [0, 2])
def test_the_effective_cpu_is_the_most_at_any_time(
    init: list[Json], apps: list[str], expected: int, overhead: int
) -> None:
    """All apps and sidecars, or one init container and the sidecars before it; and the overhead (PodRequests)."""
    containers = [container(f"app-{at}", cpu=cpu, memory=f"{cpu}Gi") for at, cpu in enumerate(apps)]
    inits = [{**one, "resources": _with_memory(one["resources"])} for one in init]
    spec: Json = {"overhead": {"cpu": str(overhead), "memory": f"{overhead}Gi"}} if overhead else {}
    found = said(DECODER, pod("train", containers=containers or [container("idle")], init=inits, **spec))
    assert (found.cpu_milli, found.memory_bytes) == (1000 * (expected + overhead), (expected + overhead) << 30)


def _with_memory(resources: Json) -> Json:
    return {**resources, "requests": {**resources["requests"], "memory": f"{resources['requests']['cpu']}Gi"}}


def test_resources_of_the_pod_itself_take_the_place_of_its_containers() -> None:
    """For each resource that it names; the overhead still counts."""
    spec: Json = {"resources": {"requests": {"cpu": "3"}}, "overhead": {"cpu": "1", "memory": "1Gi"}}
    found = said(DECODER, pod("train", containers=[container("main", 4, cpu="8", memory="2Gi")], **spec))
    assert (found.cpu_milli, found.memory_bytes) == (4000, 3 << 30)
