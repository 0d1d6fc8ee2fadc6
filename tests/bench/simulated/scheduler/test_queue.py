"""The queue wakes, backs off and orders pods as kube-scheduler's does."""

from bench.simulated.scheduler.queue import QueueSettings, SchedulingQueue


def _queue(*uids: str) -> SchedulingQueue:
    queue = SchedulingQueue(QueueSettings(first_backoff_s=1, longest_backoff_s=10, flush_s=300))
    for uid in uids:
        queue.add(uid, priority=0, created="2026-01-01T00:00:00Z")
    return queue


def test_priority_comes_first_then_age() -> None:
    """The most important, then the oldest."""
    queue = _queue()
    queue.add("young", priority=0, created="2026-01-02T00:00:00Z")
    queue.add("old", priority=0, created="2026-01-01T00:00:00Z")
    queue.add("high", priority=5, created="2026-01-03T00:00:00Z")
    assert [queue.pop(0) for _ in range(4)] == ["high", "old", "young", None]


def test_a_pod_that_fits_nowhere_sleeps_until_the_flush() -> None:
    """Nothing happens: nobody asks again for five minutes."""
    queue = _queue("a")
    queue.pop(0)
    queue.sleep("a", 0)
    assert [queue.pop(299), queue.pop(301)] == [None, "a"]


def test_a_change_wakes_at_once_when_nobody_else_is_there() -> None:
    """SchedulerPopFromBackoffQ: the backoff of a pod without error is skipped."""
    queue = _queue("a")
    queue.pop(0)
    queue.sleep("a", 0)
    queue.move_all(0.01)
    assert queue.place_of("a") == "backoff"
    assert queue.pop(0.02) == "a"


def test_a_change_long_after_the_backoff_makes_active() -> None:
    """The backoff counts from the failure, not from the change."""
    queue = _queue("a")
    queue.pop(0)
    queue.sleep("a", 0)
    queue.move_all(60)
    assert queue.place_of("a") == "active"


def test_a_change_during_the_attempt_is_not_missed() -> None:
    """What happened while the pod was tried wakes it right after."""
    queue = _queue("a")
    queue.pop(0)
    queue.move_all(0.5)
    queue.sleep("a", 1)
    assert queue.place_of("a") == "backoff"


def test_errors_wait_for_the_whole_backoff() -> None:
    """1, 2, 4, 8, 10, 10 seconds, whatever happens meanwhile."""
    queue = _queue("a")
    now_s = 0.0
    waited = []
    for _ in range(6):
        assert queue.pop(now_s) == "a"
        queue.retry("a", now_s)
        queue.move_all(now_s)
        until_s = queue.next_wake_s()
        assert until_s is not None
        assert queue.pop(until_s - 0.01) is None
        waited.append(until_s - now_s)
        now_s = until_s
    assert waited == [1, 2, 4, 8, 10, 10]


def test_a_removed_pod_never_comes() -> None:
    """Deleted or bound while it waited."""
    queue = _queue("a", "b")
    queue.remove("a")
    assert ([queue.pop(0), queue.pop(0)], len(queue)) == (["b", None], 1)
