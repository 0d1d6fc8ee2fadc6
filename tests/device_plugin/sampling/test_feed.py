"""The feed holds the newest GPUs, tells of changes, and keeps saying what is wrong."""

import threading
from dataclasses import replace

import pytest

from device_plugin.gpus.gpu import NO_ANSWER, GpuSample, GpuSourceError, GpuSourceStalledError
from device_plugin.sampling.feed import NO_ROOM, GpuFeed
from device_plugin.settings import SettingsError
from extender.contract.units import GpuUuid, UnitMib
from tests.device_plugin.builders import UNIT_MIB, sample


class ScriptedSource:
    """Gives or raises one thing after the other, the last one for ever."""

    def __init__(self, *script: tuple[GpuSample, ...] | Exception) -> None:
        self.script = list(script)
        self.closed = threading.Event()

    def sample(self) -> tuple[GpuSample, ...]:
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed.set()


def feed_of(*script: tuple[GpuSample, ...] | Exception, unit_mib: UnitMib = UNIT_MIB) -> GpuFeed:
    """A feed that is stepped by hand."""
    return GpuFeed(ScriptedSource(*script), unit_mib, 0.5)


def test_a_change_is_news_and_the_same_again_is_not() -> None:
    """Versions count changes."""
    feed = feed_of((sample(),), (sample(),), (sample(healthy=False, reason="XID 79"),))
    versions = []
    for _ in range(3):
        feed.step()
        versions.append(feed.wait_newer(-1, 0.0)[0])
    assert versions == [1, 1, 2]


def test_who_waits_can_be_woken_without_news_of_the_gpus() -> None:
    """Which devices are held has changed, say."""
    feed = feed_of((sample(),))
    feed.step()
    feed.touch()
    assert feed.wait_newer(1, 0.0) == (2, feed.gpus)


def test_waiting_ends_with_the_news() -> None:
    """Another thread sees the first sample."""
    feed = feed_of((sample(),))
    timer = threading.Timer(0.05, feed.step)
    timer.start()
    version, gpus = feed.wait_newer(0, 10.0)
    timer.join()
    assert (version, gpus is not None) == (1, True)


def test_lesson_19_a_source_that_never_worked_is_a_problem_not_an_empty_node() -> None:
    """Nothing is advertised, and it is said why; the waits grow."""
    feed = feed_of(GpuSourceError("NVML cannot start: driver not loaded"))
    waits = [feed.step() for _ in range(64)]
    assert (feed.gpus, feed.problem, waits[0] <= 1.0, max(waits) >= 10.0) == (
        None,
        "NVML cannot start: driver not loaded",
        True,
        True,
    )


def test_a_source_that_stops_working_makes_its_gpus_unhealthy() -> None:
    """And healthy again when it works again."""
    feed = feed_of((sample(),), GpuSourceError("lost"), (sample(),))
    seen = []
    for _ in range(3):
        feed.step()
        assert feed.gpus is not None
        seen.append(([(gpu.healthy, gpu.reason) for gpu in feed.gpus], feed.problem))
    assert seen == [([(True, "")], ""), ([(False, "lost")], "lost"), ([(True, "")], "")]


def test_what_a_failed_source_says_of_each_gpu_is_kept() -> None:
    """Its reasons change less often than the error."""
    error = GpuSourceError("NVML cannot count its GPUs")
    error.known = (sample(healthy=False, reason="the reason that is shown"),)
    feed = feed_of((sample(),), error)
    feed.step()
    feed.step()
    assert feed.gpus is not None
    assert [each.reason for each in feed.gpus] == ["the reason that is shown"]


def test_lesson_28_a_source_that_does_not_answer_makes_its_gpus_unhealthy() -> None:
    """It is asked again after the usual time: nothing is gained by waiting longer."""
    feed = feed_of((sample(),), GpuSourceStalledError())
    feed.step()
    assert [feed.step() for _ in range(10)] == [0.5] * 10
    assert feed.gpus is not None
    assert ([(gpu.healthy, gpu.reason) for gpu in feed.gpus], feed.problem) == ([(False, NO_ANSWER)], NO_ANSWER)


def test_how_long_the_source_has_failed_is_counted_from_the_first_failure() -> None:
    """One that does not answer at all does not count, nor one that answered in between."""
    now_s = [100.0]
    broken, stalled = GpuSourceError("no library"), GpuSourceStalledError()
    source = ScriptedSource(broken, broken, (sample(),), broken, stalled, broken)
    feed = GpuFeed(source, UNIT_MIB, 0.5, clock_s=lambda: now_s[0])
    failing_s = []
    for _ in range(6):
        feed.step()
        now_s[0] += 10.0
        failing_s.append(feed.failing_s())
    assert failing_s == [10.0, 20.0, 0.0, 10.0, 0.0, 10.0]


def test_lesson_11_a_unit_that_breaks_grpc_ends_the_start_and_only_a_start() -> None:
    """A GPU that is added later cannot end a plugin that serves."""
    many = tuple(GpuSample(GpuUuid(f"GPU-{index:036d}"), index, "huge", 288 * 1024, numa_node=0) for index in range(64))
    with pytest.raises(SettingsError, match="choose a larger unit"):
        feed_of(many, unit_mib=UnitMib(256)).step()
    feed = feed_of(many[:5], many, many[:4], unit_mib=UnitMib(256))
    counts, left_out = [], []
    for _ in range(3):
        feed.step()
        assert (feed.problem, feed.gpus is not None) == ("", True)
        counts.append(sum(each.healthy for each in feed.gpus or ()))
        left_out.append(set(feed.left_out.values()))
    assert (counts[0], 5 < counts[1] < 64, counts[2], left_out) == (5, True, 4, [set(), {NO_ROOM}, set()])


def test_gpus_that_grow_beyond_the_message_are_not_offered() -> None:
    """None of them may be taken away from those who have it; it is said what helps."""
    grown = tuple(GpuSample(GpuUuid(f"GPU-{index:036d}"), index, "huge", 2 << 20) for index in range(16))
    feed = feed_of(tuple(replace(each, memory_mib=1024) for each in grown), grown, unit_mib=UnitMib(256))
    feed.step()
    feed.step()
    assert "choose a larger unit" in feed.problem
    assert [each.healthy for each in feed.gpus or ()] == [False] * 16


def test_the_loop_ends_and_closes_the_source() -> None:
    """NVML is shut down."""
    source = ScriptedSource((sample(),))
    feed = GpuFeed(source, UNIT_MIB, 0.05)
    stop = threading.Event()
    thread = threading.Thread(target=feed.run, args=(stop,))
    thread.start()
    feed.wait_newer(0, 10.0)
    stop.set()
    thread.join(10.0)
    assert source.closed.is_set()
