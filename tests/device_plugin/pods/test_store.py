"""The pods of the node, in whatever order their states arrive."""

import json
from typing import Any

import pytest

from device_plugin.gpus.conflicts import CLAIM
from device_plugin.pods.store import PodStore, Rival
from extender.contract.names import Names
from extender.kube.listing import identity_of
from extender.kube.objects import Identity
from tests.device_plugin.builders import UNIT_MIB, relist


def body(name: str, version: int, *, units: int = 8, bound_at: str = "", **metadata: Any) -> bytes:
    """A pod's JSON."""
    annotations = {}
    if bound_at:
        annotations["gpupack.io/allocation"] = json.dumps(
            {"version": 1, "unitMib": 1024, "containers": {"main": {"GPU-a": units}}, "at": bound_at}
        )
    limits = {"gpupack.io/gpu-mem": str(units)} if units else {}
    return json.dumps(
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": f"uid-{name}",
                "resourceVersion": str(version),
                "annotations": annotations,
                **metadata,
            },
            "spec": {"containers": [{"name": "main", "resources": {"limits": limits}}]},
        }
    ).encode()


def store() -> PodStore:
    """An empty store."""
    return PodStore(Names(), UNIT_MIB)


def orders(found: PodStore) -> list[str]:
    """Names in the order of binding."""
    return [pod.name for pod in sorted(found.pods().values(), key=lambda pod: pod.order)]


def test_a_list_is_ordered_by_the_time_of_binding() -> None:
    """And what the watch brings comes after it, in the order of arrival."""
    pods = store()
    relist(pods, [body("late", 3, bound_at="2026-01-31T12:00:02Z"), body("early", 9, bound_at="2026-01-31T12:00:01Z")])
    pods.changed(pods.read(body("last", 12, bound_at="2026-01-31T11:00:00Z")))
    pods.changed(pods.read(body("early", 13, bound_at="2026-01-31T12:00:01Z")))
    assert orders(pods) == ["early", "late", "last"]


def test_an_older_state_does_not_replace_a_newer_one() -> None:
    """A live read overtakes the watch."""
    pods = store()
    pods.merge([body("p", 10, units=8)])
    pods.changed(pods.read(body("p", 9, units=4)))
    assert [pod.needs[0].memory_units for pod in pods.pods().values()] == [8]


def test_deleted_and_unlisted_pods_are_gone() -> None:
    """By event and by relist."""
    pods = store()
    relist(pods, [body("p", 1), body("q", 2), body("r", 3)])
    pods.deleted(identity_of(body("p", 4)))
    relist(pods, [body("q", 5)])
    assert (orders(pods), pods.get("uid-r"), pods.get("uid-q") is not None) == (["q"], None, True)


def test_pods_without_our_resources_and_nonsense_are_left_out() -> None:
    """Most pods of a node are of no interest."""
    pods = store()
    pods.merge([body("p", 1, units=0), b'{"metadata":7}', body("q", 2)])
    assert orders(pods) == ["q"]


def rival(name: str, **spec: Any) -> bytes:
    """A pod that asks for a GPU of NVIDIA's plugin."""
    found = json.loads(body(name, 1, units=0))
    found["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": "1", "cpu": "1"}
    found["spec"].update(spec)
    return json.dumps(found).encode()


def test_pods_that_may_have_gpus_from_others_are_known_until_they_end() -> None:
    """By what they ask for; nothing else of them is kept."""
    found = store()
    relist(found, [rival("p"), rival("q", resourceClaims=[{"name": "gpu"}]), body("r", 1, units=0)])
    assert [found.rival(f"uid-{name}") for name in "pqr"] == [
        Rival("default", "p", frozenset({"nvidia.com/gpu"})),
        Rival("default", "q", frozenset({"nvidia.com/gpu", CLAIM})),
        None,
    ]
    assert found.pods() == {}
    ended = json.loads(rival("p"))
    ended["status"] = {"phase": "Succeeded"}
    found.merge([json.dumps(ended).encode()])
    found.deleted(identity_of(rival("q")))
    assert [found.rival(f"uid-{name}") for name in "pq"] == [None, None]


def test_the_whole_gpu_resource_of_the_installation_is_no_rival() -> None:
    """Whatever its name."""
    found = PodStore(Names("gpupack.io", "nvidia.com/gpu"), UNIT_MIB)
    relist(found, [rival("p")])
    assert found.rival("uid-p") is None
    assert set(found.pods()) == {"uid-p"}


def test_pods_that_a_list_shows_but_that_cannot_be_read_stay_as_they_were() -> None:
    """A pod that becomes unreadable keeps its GPUs; what others may have given it stays known, too."""
    found = store()
    relist(found, [body("p", 1), rival("q"), body("r", 1)])
    unreadable = [Identity("default", name, f"uid-{name}", "9") for name in "pq"]
    found.replaced([], unreadable, "9", rewound=False)
    assert (orders(found), found.rival("uid-q") is not None) == (["p"], True)


@pytest.mark.parametrize(("version", "rewound"), [("1000030", False), ("8", True)], ids=["bumped", "not bumped"])
def test_a_list_of_a_restored_storage_is_believed(version: str, *, rewound: bool) -> None:
    """What a pod said since the backup, it has not said; a list that is older than a single answer changes nothing."""
    found = store()
    found.merge([body("p", 9)])
    found.replaced([found.read(body("p", 5))], [], "7", rewound=False)
    assert found.pods()["uid-p"].version == 9
    found.replaced([found.read(body("p", 5))], [], version, rewound=rewound)
    assert found.pods()["uid-p"].version == 5
