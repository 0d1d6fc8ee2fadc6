"""The store numbers writes, remembers a bounded history, and says when that is not enough."""

import pytest

from bench.simulated.apiserver.objects.resources import NODES, PODS
from bench.simulated.apiserver.objects.store import CompactedError, Store


def _body(name: str, *, node: str = "") -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"}, "spec": {"nodeName": node}}


def test_every_write_takes_the_next_revision() -> None:
    """Created, changed and deleted objects carry the revision of that write."""
    store = Store()
    events = [
        store.put(PODS, "ns/a", _body("a")),
        store.put(PODS, "ns/a", _body("a", node="n1")),
        store.put(NODES, "n1", {"metadata": {"name": "n1"}}),
        store.remove(PODS, "ns/a"),
    ]
    assert [(event.type, event.revision) for event in events] == [
        ("ADDED", 1),
        ("MODIFIED", 2),
        ("ADDED", 3),
        ("DELETED", 4),
    ]
    assert events[3].record.body()["metadata"]["resourceVersion"] == "4"


def test_events_after_a_revision_are_those_of_the_resource_only() -> None:
    """History is asked per resource and begins after the revision."""
    store = Store()
    store.put(PODS, "ns/a", _body("a"))
    store.put(NODES, "n1", {"metadata": {"name": "n1"}})
    store.put(PODS, "ns/b", _body("b"))
    assert [event.record.key for event in store.events_after(PODS, 1)] == ["ns/b"]
    assert [event.record.key for event in store.events_after(NODES, 0)] == ["n1"]


def test_a_revision_that_left_the_bounded_history_is_refused() -> None:
    """A watch from before the oldest known event cannot start."""
    store = Store(history_limit=4)
    for number in range(20):
        store.put(PODS, f"ns/p{number}", _body(f"p{number}"))
    with pytest.raises(CompactedError):
        store.events_after(PODS, 1)
    assert [event.revision for event in store.events_after(PODS, store.oldest(PODS))][-1] == 20


def test_after_compaction_only_the_present_can_be_watched() -> None:
    """Compaction forgets all events and keeps all objects."""
    store = Store()
    store.put(PODS, "ns/a", _body("a"))
    store.put(PODS, "ns/b", _body("b"))
    store.compact()
    with pytest.raises(CompactedError):
        store.events_after(PODS, 1)
    assert store.events_after(PODS, 2) == []
    assert [record.key for record in store.records(PODS)] == ["ns/a", "ns/b"]


def test_records_are_in_key_order_and_of_one_namespace() -> None:
    """Lists come as etcd orders them."""
    store = Store()
    for key in ("ns/b", "other/a", "ns/a"):
        store.put(PODS, key, _body(key.partition("/")[2]))
    assert [record.key for record in store.records(PODS)] == ["ns/a", "ns/b", "other/a"]
    assert [record.key for record in store.records(PODS, "ns")] == ["ns/a", "ns/b"]


def test_selectable_fields_follow_the_object() -> None:
    """A record knows the fields that selectors ask for."""
    store = Store()
    event = store.put(PODS, "ns/a", _body("a", node="n7"))
    assert event.record.fields["spec.nodeName"] == "n7"
    assert event.record.fields["status.phase"] == ""
