"""The pods of the node, whatever the order in which news of them comes."""

import json
from typing import Any

from device_plugin.gpus.conflicts import CLAIM
from device_plugin.pods.store import PodStore, Rival
from extender.contract.names import Names
from tests.device_plugin.builders import UNIT_MIB


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
    pods.replace([body("late", 3, bound_at="2026-01-31T12:00:02Z"), body("early", 9, bound_at="2026-01-31T12:00:01Z")])
    pods.apply("ADDED", body("last", 12, bound_at="2026-01-31T11:00:00Z"))
    pods.apply("MODIFIED", body("early", 13, bound_at="2026-01-31T12:00:01Z"))
    assert orders(pods) == ["early", "late", "last"]


def test_old_news_does_not_replace_new() -> None:
    """A live read overtakes the watch."""
    pods = store()
    pods.merge([body("p", 10, units=8)])
    pods.apply("MODIFIED", body("p", 9, units=4))
    assert [pod.needs[0].memory_units for pod in pods.pods().values()] == [8]


def test_deleted_and_unlisted_pods_are_gone() -> None:
    """By event and by relist."""
    pods = store()
    pods.replace([body("p", 1), body("q", 2), body("r", 3)])
    pods.apply("DELETED", body("p", 4))
    pods.replace([body("q", 5)])
    assert (orders(pods), pods.get("uid-r"), pods.get("uid-q") is not None) == (["q"], None, True)


def test_pods_without_our_resources_and_nonsense_are_left_out() -> None:
    """Most pods of a node are of no interest."""
    pods = store()
    pods.replace([body("p", 1, units=0), b'{"metadata":7}', body("q", 2)])
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
    found.replace([rival("p"), rival("q", resourceClaims=[{"name": "gpu"}]), body("r", 1, units=0)])
    assert [found.rival(f"uid-{name}") for name in "pqr"] == [
        Rival("default", "p", frozenset({"nvidia.com/gpu"})),
        Rival("default", "q", frozenset({"nvidia.com/gpu", CLAIM})),
        None,
    ]
    assert found.pods() == {}
    ended = json.loads(rival("p"))
    ended["status"] = {"phase": "Succeeded"}
    found.merge([json.dumps(ended).encode()])
    found.apply("DELETED", rival("q"))
    assert [found.rival(f"uid-{name}") for name in "pq"] == [None, None]


def test_the_whole_gpu_resource_of_the_installation_is_no_rival() -> None:
    """Whatever its name."""
    found = PodStore(Names("gpupack.io", "nvidia.com/gpu"), UNIT_MIB)
    found.replace([rival("p")])
    assert found.rival("uid-p") is None
    assert set(found.pods()) == {"uid-p"}
