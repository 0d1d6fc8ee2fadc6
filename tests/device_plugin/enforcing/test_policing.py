"""Who uses more than its share for too long is reported once, and evicted where that is on and allowed."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bench.simulated.apiserver.faults import Fault
from device_plugin.enforcing.policing import Eviction, Police, evict
from device_plugin.pods.events import Events
from device_plugin.pods.pod import ContainerKey
from device_plugin.pods.store import PodStore
from device_plugin.usage.accounting.overuse import OveruseRecord
from device_plugin.usage.accounting.usage import ContainerUse, Usage
from extender.contract.names import Names
from extender.contract.units import GpuUuid
from extender.kube.errors import ApiError, ApiUnreachable
from tests.device_plugin.apiside import ApiSide, api_side
from tests.device_plugin.builders import UNIT_MIB, pod, relist
from tests.fakes.limits import FakeUsage
from tests.fakes.news import KeptNews

A = GpuUuid("GPU-a")
ALLOCATED = '{"version":1,"unitMib":1024,"containers":{"main":{"GPU-a":8}}}'


class Watch:
    """The police of node n1, where pod p has 8 GiB of GPU-a."""

    def __init__(self, side: ApiSide, *, evicts: bool) -> None:
        self.side = side
        self.now_s = 0.0
        self.usage = FakeUsage()
        self.news = KeptNews()
        self.pods = PodStore(Names(), UNIT_MIB)
        side.create_pod("p", annotations={"gpupack.io/allocated": ALLOCATED})
        self.look()
        self.police = Police(
            usage=self.usage,
            pods=self.pods,
            unit_mib=UNIT_MIB,
            record=OveruseRecord(60.0, 64),
            events=Events(self.news, "n1"),
            api=side.api if evicts else None,
            interval_s=5.0,
            clock_s=lambda: self.now_s,
        )

    def look(self) -> None:
        """Read the pods again."""
        items, _ = self.side.client.list_all("/api/v1/pods")
        relist(self.pods, [msgspec.json.encode(item) for item in items])

    def uid(self) -> str:
        """Of the pod."""
        (uid,) = self.pods.pods()
        return uid

    def step(self, at_s: float, used_mib: int) -> None:
        """One look at that time, with so much in use."""
        self.now_s = at_s
        self.usage.now = Usage((ContainerUse(ContainerKey(self.uid(), "main"), A, used_mib),))
        self.police.step()

    def leaving(self) -> bool:
        """Whether the pod is to be deleted."""
        found = self.side.client.pod("p")
        return found is None or "deletionTimestamp" in found["metadata"]


@pytest.fixture
def side(tmp_path: Path) -> Iterator[ApiSide]:
    """An API server."""
    with api_side(tmp_path) as found:
        yield found


def test_it_is_reported_once_after_the_grace_period(side: ApiSide) -> None:
    """And again only after it was within its share; nothing is evicted unless turned on."""
    watch = Watch(side, evicts=False)
    for at_s in (0.0, 59.0, 60.0, 65.0):
        watch.step(at_s, 9000)
    assert (watch.news.reasons, len(watch.police.over)) == (["GPUMemoryOverShare"], 1)
    watch.step(70.0, 8000)
    for at_s in (71.0, 131.0):
        watch.step(at_s, 9000)
    assert (watch.news.reasons, watch.leaving()) == (["GPUMemoryOverShare"] * 2, False)


def test_it_is_evicted_where_that_is_turned_on(side: ApiSide) -> None:
    """Once, through the Eviction API."""
    watch = Watch(side, evicts=True)
    watch.step(0.0, 9000)
    assert not watch.leaving()
    for at_s in (60.0, 61.0):
        watch.step(at_s, 9000)
    assert (watch.leaving(), watch.police.evictions) == (True, 1)
    assert watch.news.reasons == ["GPUMemoryOverShare", "GPUMemoryEvicted"]
    assert side.server.requests().count("POST /api/v1/namespaces/default/pods/p/eviction") == 1


def test_a_disruption_budget_is_respected_and_asked_again_later(side: ApiSide) -> None:
    """429 is no failure; the pauses grow from 10 s, and a pod that is within its share again stays."""
    watch = Watch(side, evicts=True)
    side.server.inject(Fault(method="POST", path="/eviction", status=429, times=2))
    watch.step(0.0, 9000)
    for at_s in (60.0, 61.0, 64.0):
        watch.step(at_s, 9000)
    assert watch.news.reasons == ["GPUMemoryOverShare", "GPUMemoryEvictionBlocked"]
    watch.step(71.0, 9000)
    assert watch.news.reasons[2:] == ["GPUMemoryEvictionBlocked"]
    watch.step(72.0, 8000)
    watch.step(500.0, 8000)
    assert not watch.leaving()
    watch.step(501.0, 9000)
    watch.step(561.0, 9000)
    assert (watch.leaving(), watch.police.evictions) == (True, 1)


def test_another_pod_under_that_name_is_not_evicted(side: ApiSide) -> None:
    """The UID is a precondition."""
    side.create_pod("p")
    assert evict(side.api, pod("p")) is Eviction.GONE
    assert "deletionTimestamp" not in (side.client.pod("p") or {})["metadata"]
    assert evict(side.api, pod("q")) is Eviction.GONE


@pytest.mark.parametrize("status", [404, 409, 200])
def test_a_load_balancers_page_is_no_answer_to_an_eviction(side: ApiSide, status: int) -> None:
    """The pod is neither gone nor evicted."""
    side.create_pod("p")
    side.server.inject(Fault(method="POST", path="/eviction", status=status, body=b"<html>"))
    with pytest.raises((ApiError, ApiUnreachable)):
        evict(side.api, pod("p"))


def test_an_eviction_that_fails_is_an_error_for_the_caller(side: ApiSide) -> None:
    """It is tried again like one that is not allowed now."""
    side.server.inject(Fault(method="POST", path="/eviction", status=500))
    with pytest.raises(ApiError, match="500"):
        evict(side.api, pod("p"))
    watch = Watch(side, evicts=True)
    side.server.inject(Fault(method="POST", path="/eviction", status=500))
    for at_s in (0.0, 60.0, 71.0):
        watch.step(at_s, 9000)
    assert watch.police.evictions == 1
