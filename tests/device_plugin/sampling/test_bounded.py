"""A call that never returns holds up nobody but itself."""

import threading
import time
from collections.abc import Iterator

import pytest

from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.gpu import NO_ANSWER, GpuSample, GpuSourceError, GpuSourceStalledError
from device_plugin.gpus.readings import GpuFacts, GpuReading
from device_plugin.sampling.bounded import BoundedCalls, BoundedReader, BoundedSource, driver_calls
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import sample

LIMIT_S = 0.1


class HangingDriver:
    """Answers at once, or when it is let go; a source of samples and of readings."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.closed = False
        self.threads: set[str] = set()

    def wait(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.free.wait(30.0)

    def sample(self) -> tuple[GpuSample, ...]:
        self.wait()
        return (sample(),)

    def read(self) -> tuple[GpuReading, ...]:
        self.wait()
        return (GpuReading(GpuUuid("GPU-a")),)

    def facts(self) -> tuple[GpuFacts, ...]:
        return (GpuFacts(GpuUuid("GPU-a")),)

    def close(self) -> None:
        self.wait()
        self.closed = True


@pytest.fixture
def driver() -> Iterator[HangingDriver]:
    """One that is let go in the end."""
    found = HangingDriver()
    yield found
    found.free.set()


def threads() -> list[str]:
    """Those that make calls."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("nvml-")]


def test_a_call_that_returns_is_a_call(driver: HangingDriver) -> None:
    """With its result or its error, always in the same thread, which ends."""
    calls = BoundedCalls("sampler", 10.0)
    source = BoundedSource(driver, calls)
    assert [source.sample() for _ in range(3)] == [(sample(),)] * 3

    def fail() -> None:
        raise GpuSourceError("no driver")

    with pytest.raises(GpuSourceError, match="no driver"):
        calls.call(fail)
    source.close()
    assert (driver.closed, driver.threads) == (True, {"nvml-sampler"})
    until(lambda: not threads())


def test_a_call_that_does_not_return_is_given_up_and_later_ones_fail_at_once(driver: HangingDriver) -> None:
    """Until it has returned: then there is an answer again, and it is a new one."""
    calls = BoundedCalls("sampler", LIMIT_S)
    source = BoundedSource(driver, calls)
    driver.free.clear()
    with pytest.raises(GpuSourceStalledError, match=NO_ANSWER):
        source.sample()
    began_s = time.monotonic()
    for _ in range(100):
        with pytest.raises(GpuSourceStalledError):
            source.sample()
    assert (time.monotonic() - began_s < 50 * LIMIT_S, calls.stalled_s() >= LIMIT_S) == (True, True)
    driver.free.set()
    until(lambda: not calls.stalled_s())
    assert source.sample() == (sample(),)
    source.close()


def test_it_can_be_closed_while_a_call_does_not_return(driver: HangingDriver) -> None:
    """The thread is left behind; when the call returns after all, it closes the source and ends."""
    source = BoundedSource(driver, BoundedCalls("sampler", LIMIT_S))
    driver.free.clear()
    with pytest.raises(GpuSourceStalledError):
        source.sample()
    source.close()
    assert (driver.closed, threads()) == (False, ["nvml-sampler"])
    driver.free.set()
    until(lambda: not threads())
    assert driver.closed


def test_a_source_that_was_closed_can_be_used_again(driver: HangingDriver) -> None:
    """In a new thread."""
    source = BoundedSource(driver, BoundedCalls("sampler", 10.0))
    for _ in range(2):
        assert source.sample() == (sample(),)
        source.close()
        until(lambda: not threads())


def test_two_threads_may_ask_and_neither_waits_for_ever(driver: HangingDriver) -> None:
    """The second waits as long as the first."""
    calls = BoundedCalls("enforcer", LIMIT_S)
    driver.free.clear()
    outcomes: list[str] = []

    def ask() -> None:
        try:
            calls.call(driver.wait)
        except GpuSourceStalledError as error:
            outcomes.append(str(error))

    both = [threading.Thread(target=ask) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(10.0)
    assert outcomes == [NO_ANSWER] * 2


def test_readings_are_bounded_and_facts_are_there(driver: HangingDriver) -> None:
    """Those who show them must not wait for the driver."""
    reader = BoundedReader(driver, BoundedCalls("meter", LIMIT_S))
    assert reader.read() == (GpuReading(GpuUuid("GPU-a")),)
    driver.free.clear()
    with pytest.raises(GpuSourceStalledError):
        reader.read()
    assert reader.facts() == (GpuFacts(GpuUuid("GPU-a")),)
    reader.close()


def test_it_is_said_whose_call_does_not_return(driver: HangingDriver) -> None:
    """In words that do not change while it lasts, and in seconds that do."""
    calls = driver_calls(LIMIT_S)
    assert (calls.problem(), calls.stalled_s()) == ("", {"sampler": 0.0, "meter": 0.0, "enforcer": 0.0})
    driver.free.clear()
    with pytest.raises(GpuSourceStalledError):
        calls.meter.call(driver.wait)
    assert calls.problem() == "calls into the driver have not returned for a while: meter"
    assert [name for name, stalled_s in calls.stalled_s().items() if stalled_s >= LIMIT_S] == ["meter"]
    driver.free.set()
    until(lambda: calls.problem() == "")
    calls.leave()
