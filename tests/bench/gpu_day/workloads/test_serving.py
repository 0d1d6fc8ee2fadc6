"""A server times every request, and at a rate counts the wait for the one before."""

import time

import pytest

from bench.gpu_day.workloads.serving import STEPS, InferenceServer, arrivals


class SlowModel:
    """Takes as long for a request as the test says, in two tokens."""

    def __init__(self, request_s: float) -> None:
        self.request_s = request_s
        self.loaded: list[str] = []
        self.filled_until_s = 0.0

    def step(self, name: str) -> None:
        """Note it."""
        self.loaded.append(name)

    def request(self, kind: str) -> list[float]:
        """Two tokens."""
        assert kind == "gpu"
        time.sleep(self.request_s)
        return [self.request_s / 2] * 2

    def batch(self, kind: str) -> int:
        """Three answers at the same time."""
        return 3 if kind == "gpu" else 1

    def fill(self, until_s: float) -> None:
        """Note it."""
        self.filled_until_s = until_s


def test_back_to_back_requests_follow_each_other() -> None:
    """Until the time is over; all tokens of all answers count."""
    found = InferenceServer(SlowModel(0.02)).serve("gpu", time.time(), 0.1, None, 0)
    count = len(found["latencies_s"])
    assert 2 <= count <= 6
    assert (found["tokens"], found["token_p99_s"]) == (count * 2 * 3, 0.01)
    assert min(found["latencies_s"]) >= 0.02
    assert found["seconds"] >= 0.1


def test_at_a_rate_a_request_waits_for_the_one_before() -> None:
    """Its latency counts from when it was due, as a user sees it."""
    found = InferenceServer(SlowModel(0.05)).serve("gpu", time.time(), 0.2, 100.0, 1)
    latencies_s = found["latencies_s"]
    assert len(latencies_s) == len(arrivals(100.0, 0.2, 1)) > 5
    assert max(latencies_s) > 0.05 * (len(latencies_s) - 1) - 0.2


def test_nothing_is_served_before_its_time() -> None:
    """Servers begin together."""
    at = time.time() + 0.15
    InferenceServer(SlowModel(0.0)).serve("gpu", at, 0.01, None, 0)
    assert time.time() >= at
    model = SlowModel(0.0)
    InferenceServer(model).fill(time.time(), 0.5)
    assert model.filled_until_s > time.time()


def test_a_time_without_requests_has_no_percentile() -> None:
    """At a low rate nobody may come."""
    assert arrivals(0.001, 0.1, 0) == []
    found = InferenceServer(SlowModel(0.0)).serve("gpu", time.time(), 0.1, 0.001, 0)
    assert (found["latencies_s"], found["tokens"], found["token_p99_s"]) == ([], 0, None)


@pytest.mark.parametrize("rate", [1.0, 10.0, 200.0])
def test_arrivals_are_random_with_the_rate(rate: float) -> None:
    """Rising, within the time, and the same for the same seed."""
    found = arrivals(rate, 1000.0 / rate, 7)
    assert found == sorted(found) == arrivals(rate, 1000.0 / rate, 7) != arrivals(rate, 1000.0 / rate, 8)
    assert 900 < len(found) < 1100
    assert 0 < found[0] <= found[-1] < 1000.0 / rate


def test_steps_are_loaded_one_by_one() -> None:
    """And timed."""
    model = SlowModel(0.0)
    assert [InferenceServer(model).step(name)["seconds"] >= 0 for name in STEPS] == [True] * len(STEPS)
    assert tuple(model.loaded) == STEPS
