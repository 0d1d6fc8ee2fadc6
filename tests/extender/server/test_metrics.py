"""Metrics: what is exposed of the state, in base units, in a form that Prometheus reads."""

import math

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extender.contract.units import GpuUuid
from extender.server.metrics import RecordCollector
from tests.extender.objects import allocation, mixed_node, node, pod, uuid
from tests.extender.served import Served

GIB = 2**30


def served() -> Served:
    """One GPU shared, held and overcommitted in part, one unhealthy, one whole, one idle."""
    made = Served(node("a", 16, 16, unhealthy=[uuid("a", 1)]), node("b", 16, 16))
    made.cluster.show_bound("p0", 10, uuid("a", 0), "a")
    made.cluster.hold(pod("p1", 4), "a")
    made.cluster.hold(pod("p2", gpus=1), "b")
    made.cluster.filter(pod("p3", 17))
    return made


def test_every_series_is_read_by_prometheus() -> None:
    """Help and type for each; names of counters end in _total, of times in _seconds, of sizes in _bytes."""
    families = list(text_string_to_metric_families(generate_latest(served().registry).decode()))
    names = {family.name for family in families}
    assert {"gpupack_extender_request_duration_seconds", "gpupack_extender_requests"} <= names
    assert {"gpupack_extender_nodes", "gpupack_extender_pods", "gpupack_gpus", "gpupack_gpu_memory_bytes"} <= names
    assert all(family.documentation for family in families)
    assert all(family.name.startswith("gpupack_") for family in families)


def test_gpu_memory_adds_up() -> None:
    """In bytes: what is allocated, held and free is all that healthy GPUs have."""
    made = served()
    memory = {
        state: made.sample("gpupack_gpu_memory_bytes", state=state) / GIB
        for state in ("capacity", "allocated", "held", "outside", "free", "overcommitted")
    }
    assert memory == {"capacity": 64, "allocated": 10, "held": 20, "outside": 0, "free": 18, "overcommitted": 0}


def test_gpus_are_counted_by_state() -> None:
    """A GPU held whole is not idle."""
    made = served()
    gpus = {state: made.sample("gpupack_gpus", state=state) for state in ("healthy", "unhealthy", "idle", "whole")}
    assert gpus == {"healthy": 3, "unhealthy": 1, "idle": 1, "whole": 1}


def test_a_gpu_in_mig_devices_is_counted_once() -> None:
    """Healthy and idle when all of them are; their memory adds up."""
    made = Served(mixed_node("a"), mixed_node("b"))
    made.cluster.show_bound("p", 4, GpuUuid("MIG-a-1-1"), "a")
    gpus = {state: made.sample("gpupack_gpus", state=state) for state in ("healthy", "unhealthy", "idle", "whole")}
    assert gpus == {"healthy": 4, "unhealthy": 0, "idle": 3, "whole": 0}
    assert made.sample("gpupack_gpu_memory_bytes", state="capacity") == 2 * 137 * GIB


def test_an_overcommitted_gpu_shows() -> None:
    """Lesson 4: zero free units, never a negative number, and a series that says so."""
    made = Served(node("a", 16))
    for name in ("p0", "p1"):
        made.cluster.show_bound(name, 10, uuid("a", 0), "a")
    assert made.sample("gpupack_gpu_memory_bytes", state="overcommitted") == 4 * GIB
    assert made.sample("gpupack_gpu_memory_bytes", state="free") == 0


def test_pods_and_the_age_of_the_view() -> None:
    """By state; the age is infinite before the first contact."""
    made = served()
    pods = {
        state: made.sample("gpupack_extender_pods", state=state) for state in ("known", "pending", "held", "waiting")
    }
    assert pods == {"known": 4, "pending": 3, "held": 2, "waiting": 1}
    assert made.sample("gpupack_extender_view_age_seconds") == 0.5
    made.view_age_s = math.inf
    assert made.sample("gpupack_extender_view_age_seconds") == math.inf


def test_refused_pods_are_counted_by_reason() -> None:
    """A pod counts once for each reason; once it is placed it is refused no more."""
    made = Served(node("a", 16, 16), node("b", 8))
    for name, uuid_of in (("p0", 0), ("p1", 1)):
        made.cluster.show_bound(name, 12, uuid("a", uuid_of), "a")
    waits = pod("waits", 8)
    made.cluster.show_bound("p2", 8, uuid("b", 0), "b")
    made.cluster.filter(waits)
    counted = {reason: made.sample("gpupack_extender_refused_pods", reason=reason) for reason in ("fragmented", "full")}
    assert counted == {"fragmented": 1, "full": 1}


def test_whether_the_cluster_was_read_shows() -> None:
    """As 1 or 0."""
    made = served()
    assert made.sample("gpupack_extender_synced") == 1
    made.synced = False
    assert made.sample("gpupack_extender_synced") == 0


def test_whether_writes_fail_shows() -> None:
    """As 1 or 0."""
    made = served()
    assert made.sample("gpupack_extender_writes_failing") == 0
    made.writes_failing = True
    assert made.sample("gpupack_extender_writes_failing") == 1


def test_unreadable_objects_are_counted_by_kind() -> None:
    """An admin sees that the view lacks something."""
    made = served()
    assert made.sample("gpupack_extender_unreadable_objects_total", kind="pod") == 0
    made.unreadable["pod"] = 2
    assert made.sample("gpupack_extender_unreadable_objects_total", kind="pod") == 2
    assert made.sample("gpupack_extender_unreadable_objects_total", kind="node") == 0


def test_what_became_of_the_record_is_counted() -> None:
    """Events by outcome, and lines that found no room."""
    registry = CollectorRegistry()
    registry.register(RecordCollector(lambda: {"written": 7, "dropped": 2}, lambda: 1))
    outcomes = {
        outcome: registry.get_sample_value("gpupack_extender_events_total", {"outcome": outcome})
        for outcome in ("written", "dropped")
    }
    assert outcomes == {"written": 7, "dropped": 2}
    assert registry.get_sample_value("gpupack_extender_decision_lines_dropped_total") == 1


def test_failures_of_pods_on_nodes_are_counted() -> None:
    """By how they failed; the node is avoided for some minutes."""
    made = Served(node("a", 16))
    made.cluster.hold(pod("p0", 4))
    made.cluster.hold(pod("p0", 4))
    counted = {
        how: made.sample("gpupack_extender_node_failures_total", how=how) for how in ("refused", "ended", "attempt")
    }
    assert counted == {"refused": 0, "ended": 0, "attempt": 1}
    assert made.sample("gpupack_extender_avoided_nodes") == 1


def test_claims_are_a_state_of_their_own() -> None:
    """Of memory and of pods."""
    made = Served(node("a", 16))
    plan = {"allocation": allocation({"main": {uuid("a", 0): 4}})}
    made.cluster.show(pod("low", 4, node="a", annotations=plan, deleting=True))
    status = {"phase": "Pending", "nominatedNodeName": "a"}
    made.cluster.show(pod("urgent", 16, priority=9, status=status))
    memory = {
        state: made.sample("gpupack_gpu_memory_bytes", state=state) / GIB
        for state in ("allocated", "held", "claimed", "free", "overcommitted")
    }
    assert memory == {"allocated": 4, "held": 0, "claimed": 16, "free": 0, "overcommitted": 0}
    pods = {state: made.sample("gpupack_extender_pods", state=state) for state in ("held", "claimed")}
    assert pods == {"held": 0, "claimed": 1}
