"""The API server's JSON becomes pods and nodes; what a tenant wrote wrongly is taken as absent."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_plugin.pods.decoding import NodeNotes, decode_node, decode_pod
from device_plugin.pods.pod import BoundPod, ContainerNeed
from extender.contract.containers import ContainerKind
from extender.contract.names import Names
from extender.kube.objects import DecodeError
from tests.device_plugin.builders import UNIT_MIB, placed

NAMES = Names()


def limits(**amounts: object) -> dict[str, object]:
    """`limits(mem=8, gpu=1)` as a container has them."""
    known = {"mem": "gpupack.io/gpu-mem", "gpu": "gpupack.io/gpu", "cpu": "cpu"}
    return {"limits": {known[name]: amount for name, amount in amounts.items()}}


def pod_json(**changes: Any) -> dict[str, Any]:
    """A pod with one container of eight units."""
    body: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "default", "uid": "uid-p", "resourceVersion": "7"},
        "spec": {"containers": [{"name": "main", "resources": limits(mem="8", cpu="500m")}]},
        "status": {"phase": "Pending"},
    }
    for part, change in changes.items():
        body[part] = {**body[part], **change}
    return body


def decoded(body: dict[str, Any]) -> BoundPod:
    """The pod, of which everything can be read."""
    found = decode_pod(json.dumps(body).encode(), NAMES, UNIT_MIB)
    assert found.problems == ()
    return found.pod


@pytest.mark.parametrize(
    ("mounts", "hides"),
    [
        (["/data", "/dev/shm"], True),
        (["/dev/shm/"], True),
        (["/dev/../dev//shm"], True),
        (["dev/shm"], True),
        (["./dev/shm/"], True),
        (["//dev/shm"], True),
        (["../dev/shm"], True),  # above the root is the root
        (["data/dev/shm"], False),
        (["/dev"], False),  # what is mounted deeper comes later
        (["/dev/shm/cache"], False),
        ([], False),
    ],
)
def test_a_volume_of_the_containers_own_at_dev_shm(mounts: list[str], *, hides: bool) -> None:
    """As PyTorch's data loaders need, whose pods mount an emptyDir of memory there."""
    main = {"name": "main", "resources": limits(mem="8"), "volumeMounts": [{"mountPath": path} for path in mounts]}
    need = decoded(pod_json(spec={"containers": [main]})).need("main")
    assert need is not None
    assert need.hides_shm == hides


def test_a_bound_pod() -> None:
    """Plan, time of binding and order of the containers: init first, sidecars by their restart policy."""
    plan = '{"version":1,"unitMib":1024,"containers":{"main":{"GPU-a":8}},"at":"2026-01-31T12:00:00Z"}'
    spec = {
        "initContainers": [
            {"name": "side", "restartPolicy": "Always", "resources": limits(mem="1")},
            {"name": "init", "resources": limits(mem="10k")},
            {"name": "plain"},
        ],
        "containers": [{"name": "main", "resources": limits(mem="8")}, {"name": "big", "resources": limits(gpu="2")}],
    }
    metadata = {
        "annotations": {"gpupack.io/allocation": plan, "gpupack.io/gpu-count": "2"},
        "creationTimestamp": "2026-01-31T11:00:00Z",
    }
    found = decoded(pod_json(spec=spec, metadata=metadata))
    assert found == BoundPod(
        uid="uid-p",
        namespace="default",
        name="p",
        needs=(
            ContainerNeed("side", ContainerKind.SIDECAR, memory_units=1),
            ContainerNeed("init", ContainerKind.INIT, memory_units=10_000),
            ContainerNeed("main", memory_units=8),
            ContainerNeed("big", whole_gpus=2),
        ),
        gpu_count=2,
        plan={"main": placed(a=8)},
        version=7,
        bound_at="2026-01-31T12:00:00Z",
        created_at="2026-01-31T11:00:00Z",
    )


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"status": {"phase": "Running"}}, "admitted", True),
        ({"status": {"startTime": "2026-01-31T12:00:00Z"}}, "admitted", True),
        ({"status": {"phase": "Failed"}}, "ended", True),
        ({"status": {"phase": "Succeeded"}}, "ended", True),
        ({"metadata": {"deletionTimestamp": "2026-01-31T12:00:00Z"}}, "terminating", True),
        ({"metadata": {"annotations": {"gpupack.io/gpu-count": "many"}}}, "gpu_count", 1),
        ({"metadata": {"annotations": {"gpupack.io/gpu-count": "0"}}}, "gpu_count", 1),
        ({"spec": {"containers": [{"name": "main"}]}}, "needs", ()),
    ],
)
def test_states_of_a_pod(changes: dict[str, Any], field: str, value: object) -> None:
    """What the kubelet and the user have done with it."""
    assert getattr(decoded(pod_json(**changes)), field) == value


@pytest.mark.parametrize("version", ["\u00b22001", "9" * 5000, ""])
def test_a_pod_whose_version_is_no_number_is_read(version: str) -> None:
    """One such pod must not keep the others away."""
    assert decoded(pod_json(metadata={"resourceVersion": version})).version == 0


def test_containers_are_known_by_the_runtimes_id() -> None:
    """Of every kind; one that waits has none yet."""
    status = {
        "initContainerStatuses": [{"name": "init", "containerID": "containerd://aa"}],
        "containerStatuses": [{"name": "main", "containerID": "cri-o://bb"}, {"name": "late", "containerID": None}],
        "ephemeralContainerStatuses": [{"name": "debug", "containerID": "docker://cc"}, {"name": "waiting"}],
    }
    assert decoded(pod_json(status=status)).container_ids == {"aa": "init", "bb": "main", "cc": "debug"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metadata": {"annotations": {"gpupack.io/allocation": "{"}}}, "allocation: not JSON"),
        ({"metadata": {"annotations": {"gpupack.io/allocated": '{"version":9}'}}}, "version is 9, expected 1"),
        (
            {"metadata": {"annotations": {"gpupack.io/allocation": '{"version":1,"unitMib":256,"containers":{}}'}}},
            "unitMib is 256, expected 1024",
        ),
        ({"spec": {"containers": [{"name": "main", "resources": limits(mem="lots")}]}}, "limit of gpupack.io/gpu-mem"),
    ],
)
def test_what_cannot_be_read_is_absent_and_named(changes: dict[str, Any], words: str) -> None:
    """A pod with nonsense in it must not take the view of the others away."""
    found = decode_pod(json.dumps(pod_json(**changes)).encode(), NAMES, UNIT_MIB)
    assert (len(found.problems), words in found.problems[0]) == (1, True)
    assert (found.pod.plan, found.pod.allocated) == ({}, {})


def test_nodes() -> None:
    """What the annotations say, if they are there."""
    node = b'{"metadata":{"name":"n1","uid":"u","resourceVersion":"5","annotations":{"gpupack.io/inventory":"text"}}}'
    assert decode_node(node, NAMES) == NodeNotes("n1", "u", "text", version="5")
    assert decode_node(b'{"metadata":{"name":"n1"}}', NAMES) == NodeNotes("n1", "", None)


def test_nodes_have_taints_and_offer_resources() -> None:
    """Taints with all that they say; of the resources ours, unless the number makes no sense."""
    taint = {"key": "example.com/new", "effect": "NoSchedule", "timeAdded": "2026-11-30T20:00:00Z", "later": [1]}
    allocatable = {"cpu": "8", "gpupack.io/gpu-mem": "30", "gpupack.io/gpu": 2, "gpupack.io/gpu-core": "-"}
    body = {"metadata": {"name": "n1"}, "spec": {"taints": [taint]}, "status": {"allocatable": allocatable}}
    found = decode_node(json.dumps(body).encode(), NAMES)
    assert found.taints == (taint,)
    assert found.offered == {"gpupack.io/gpu-mem": 30, "gpupack.io/gpu": 2}


KEYS = st.sampled_from(["metadata", "spec", "name", "items"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=10,
)


@given(JSON)
def test_any_json_is_decoded_or_refused(body: object) -> None:
    """No other exception reaches the reflector."""
    text = json.dumps(body).encode()
    for decode in (decode_node, lambda data, names: decode_pod(data, names, UNIT_MIB)):
        try:
            decode(text, NAMES)
        except DecodeError as error:
            assert "Object: " in str(error)  # noqa: PT017 - both ways are fine
