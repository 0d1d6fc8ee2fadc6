"""What the kubelet really gave is written on the pod: once, in time, and on no other pod."""

import json
import threading
import time
from typing import Any

import pytest

from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.admissions import Admissions
from device_plugin.kubelet.deciding.allocating import Given
from device_plugin.kubelet.deciding.attributing import Entry
from device_plugin.kubelet.deciding.matching import Request
from device_plugin.kubelet.reconciling import Reconciler, Start
from device_plugin.pods.store import PodStore
from device_plugin.settings import DeviceListStrategy, Resource
from extender.contract.allocation import parse_allocation
from extender.contract.names import Names
from tests.device_plugin.builders import UNIT_MIB, gpus, ids, placed, pod_body, relist, sample, slice_of
from tests.fakes.kubelet_patches import FakePatching
from tests.fakes.podresources_reader import FakePodResources

NODE = gpus(a=16, b=16)
WHOLE = "gpupack.io/gpu"
PATH = "/api/v1/namespaces/default/pods/p"


class Node:
    """A reconciler with everything that it reads and writes."""

    def __init__(self, *bodies: bytes, of: Gpus = NODE) -> None:
        self.pods = PodStore(Names(), UNIT_MIB)
        relist(self.pods, bodies)
        paths = {}
        for body in bodies:
            found = json.loads(body)
            paths[f"/api/v1/namespaces/default/pods/{found['metadata']['name']}"] = found
        self.api = FakePatching(**paths)
        self.podresources = FakePodResources()
        self.due = threading.Event()
        self.live: list[bytes] = []
        self.api_works = True
        self.told: list[tuple[str, str]] = []
        self.admissions = Admissions(
            pods=self.pods,
            podresources=self.podresources,
            read_pods=self.read_pods,
            strategy=DeviceListStrategy.ENVVAR,
            on_granted=self.due.set,
        )
        self.reconciler = Reconciler(
            admissions=self.admissions,
            pods=self.pods,
            api=self.api,
            gpus=lambda: of,
            names=Names(),
            unit_mib=UNIT_MIB,
            interval_s=60.0,
            due=self.due,
            on_breach=lambda pod, breach: self.told.append((pod.path, breach.text)),
        )

    def read_pods(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        if self.api_works:
            self.pods.merge(self.live)
        return self.api_works

    def admit(self, size: int, name: str = "p") -> frozenset[str]:
        """Admit a container as the kubelet does."""
        offered = ids("a", range(16)) | ids("b", range(16))
        found = frozenset(self.admissions.prefer(Request(Resource.MEMORY, offered, frozenset(), size), NODE).ids)
        assert isinstance(self.admissions.allocate(Resource.MEMORY, found, NODE), Given)
        self.show(found, name=name)
        return found

    def restore(self, body: bytes) -> None:
        """Let the API server be back, with this pod, and the watch bring it."""
        self.api_works = True
        self.api.objects[PATH] = json.loads(body)
        self.pods.merge([body])

    def show(
        self,
        found: frozenset[str],
        container: str = "main",
        name: str = "p",
        resource: Resource = Resource.MEMORY,
    ) -> None:
        """Let podresources show it."""
        entry = Entry("default", name, container, resource, found)
        self.podresources.entries = (*self.podresources.entries, entry)

    def written(self, path: str = PATH) -> dict[str, Any]:
        """Containers of the record on a pod; empty without one."""
        text = self.api.objects[path]["metadata"]["annotations"].get("gpupack.io/allocated")
        return {} if text is None else {name: dict(on) for name, on in parse_allocation(text).containers.items()}


def test_before_start_writes_what_was_given_not_what_was_planned() -> None:
    """Actual wins; the UID of the pod is in the patch."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    node.show(ids("b", range(8)))
    assert node.reconciler.before_start(Resource.MEMORY, ids("b", range(8)), 5.0).is_recorded
    assert (node.written(), node.api.patches[0][1]["uid"]) == ({"main": placed(b=8)}, "uid-p")


def test_what_is_written_is_not_written_again() -> None:
    """Every start and every sweep looks; only differences are patched, though the watch is behind."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    node.show(ids("a", range(8)))
    node.reconciler.before_start(Resource.MEMORY, ids("a", range(8)), 5.0)
    node.reconciler.before_start(Resource.MEMORY, ids("a", range(8)), 5.0)
    node.reconciler.sweep()
    assert len(node.api.patches) == 1


def test_a_record_that_someone_removed_is_written_again() -> None:
    """By the next sweep."""
    body = pod_body("p", {"main": {"GPU-a": 8}})
    node = Node(body)
    node.show(ids("a", range(8)))
    node.reconciler.sweep()
    bare = json.loads(body)
    bare["metadata"]["resourceVersion"] = "99"
    node.api.objects[PATH] = bare
    node.pods.merge([json.dumps(bare).encode()])
    node.reconciler.sweep()
    assert (len(node.api.patches), node.written()) == (2, {"main": placed(a=8)})


def test_a_start_waits_for_podresources_but_not_for_long() -> None:
    """The kubelet shows an Allocate some milliseconds later; what never shows must not hold the container."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    timer = threading.Timer(0.05, node.show, [ids("a", range(8))])
    timer.start()
    assert node.reconciler.before_start(Resource.MEMORY, ids("a", range(8)), 5.0).is_recorded
    timer.join()
    begun_s = time.monotonic()
    assert not node.reconciler.before_start(Resource.MEMORY, ids("b", range(8)), 5.0).is_recorded
    assert (time.monotonic() - begun_s < 5.0, node.due.is_set()) == (True, True)


def test_a_pod_that_is_not_known_yet_is_read_live() -> None:
    """Podresources names it before our watch does."""
    node = Node()
    body = pod_body("p", {"main": {"GPU-a": 8}})
    node.live = [body]
    node.api.objects[PATH] = json.loads(body)
    node.show(ids("a", range(8)))
    assert (node.reconciler.before_start(Resource.MEMORY, ids("a", range(8)), 5.0).is_recorded, node.written()) == (
        True,
        {"main": placed(a=8)},
    )


def test_a_plain_init_container_is_recorded_by_its_allocate() -> None:
    """Podresources never shows it; so its start does not wait for that."""
    node = Node(pod_body("p", {"init": {"GPU-b": 8}}, init=["init"]))
    node.admissions.refresh()
    offered = ids("b", range(8))
    choice = node.admissions.prefer(Request(Resource.MEMORY, offered, frozenset(), 8), NODE)
    assert isinstance(node.admissions.allocate(Resource.MEMORY, choice.ids, NODE), Given)
    assert node.reconciler.before_start(Resource.MEMORY, offered, 5.0).is_recorded
    assert node.written() == {"init": placed(b=8)}


@pytest.mark.parametrize(("status", "by_proxy"), [(0, False), (500, False), (404, True)])
def test_an_api_server_that_is_away_never_stops_a_container(status: int, *, by_proxy: bool) -> None:
    """The sweep writes it when the server is back; a load balancer's 404 does not say that the pod is gone."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    node.show(ids("a", range(8)))
    node.api.status, node.api.by_proxy = status, by_proxy
    assert not node.reconciler.before_start(Resource.MEMORY, ids("a", range(8)), 5.0).is_recorded
    node.reconciler.sweep()
    assert node.reconciler.problem == "not written yet: default/p"
    node.api.status = None
    node.reconciler.sweep()
    assert (node.reconciler.problem, node.written()) == ("", {"main": placed(a=8)})


SPREAD = pod_body("p", {"main": {"GPU-a": 4, "GPU-b": 4}}, gpu_count=2)


def test_a_container_waits_until_its_pod_is_known_and_starts_on_what_it_asks_for() -> None:
    """The API server was away when the kubelet admitted it; nothing about it is silently wrong."""
    node = Node()
    node.api_works = False
    given = node.admit(8)
    refused = node.reconciler.before_start(Resource.MEMORY, given, 0.1)
    assert (refused.is_recorded, "the API server cannot be asked" in refused.refusal) == (False, True)
    node.restore(pod_body("p", {"main": {"GPU-a": 8}}))
    assert node.reconciler.before_start(Resource.MEMORY, given, 5.0) == Start(is_recorded=True)
    assert node.told == []


def test_a_pod_with_gpu_count_that_was_given_one_gpu_never_starts() -> None:
    """It could not be read in time; the Event says what to do, once."""
    node = Node()
    node.api_works = False
    given = node.admit(8)
    node.restore(SPREAD)
    for _ in range(2):
        start = node.reconciler.before_start(Resource.MEMORY, given, 5.0)
        assert start.refusal.startswith("its memory is on 1 of 2 GPUs (gpupack.io/gpu-count), because")
    ((path, text),) = node.told
    assert (path, text.startswith("container main: its memory is on 1 of 2 GPUs")) == ("default/p", True)


@pytest.mark.parametrize("models", [("", "*MIG-1g.10gb"), ("!*MIG*", "*MIG-1g.10gb")])
def test_pods_that_were_given_each_others_gpus_do_not_start(models: tuple[str, str]) -> None:
    """Nobody said which of the two the kubelet admitted first; each has an Event, and starts on what was its own."""
    mixed = Gpus(UNIT_MIB, (sample("GPU-a", 9), slice_of("GPU-p", "MIG-1", index=1)))
    card, piece = frozenset({"GPU-a"}), frozenset({"MIG-1"})
    node = Node(
        *(
            pod_body(name, {"main": {uuid: 9}}, resource=WHOLE, amounts={"main": 1}, gpu_model=model)
            for name, uuid, model in zip(("p", "q"), ("GPU-a", "MIG-1"), models, strict=True)
        ),
        of=mixed,
    )
    node.show(piece, name="p", resource=Resource.WHOLE)
    node.show(card, name="q", resource=Resource.WHOLE)
    starts = [node.reconciler.before_start(Resource.WHOLE, ids, 5.0) for ids in (piece, card)]
    assert [start.is_recorded and "so that it is placed anew" in start.refusal for start in starts] == [True, True]
    assert [path for path, _ in node.told] == ["default/p", "default/q"]
    node.podresources.entries = ()
    node.show(card, name="p", resource=Resource.WHOLE)
    node.show(piece, name="q", resource=Resource.WHOLE)
    starts = [node.reconciler.before_start(Resource.WHOLE, ids, 5.0) for ids in (piece, card)]
    assert starts == [Start(is_recorded=True)] * 2


def test_a_container_that_has_run_is_restarted_whatever_it_has() -> None:
    """What an earlier plugin let start runs on, also while nobody can ask the API server."""
    body = json.loads(SPREAD)
    body["status"] = {"containerStatuses": [{"name": "main", "containerID": "containerd://c1"}]}
    node = Node(json.dumps(body).encode())
    node.show(ids("a", range(8)))
    assert node.reconciler.before_start(Resource.MEMORY, ids("a", range(8)), 5.0) == Start(is_recorded=True)
    other = Node()
    other.api_works = False
    other.show(ids("a", range(8)))
    assert other.reconciler.before_start(Resource.MEMORY, ids("a", range(8)), 0.1).refusal == ""


def test_a_container_that_was_known_does_not_wait_for_the_api_server() -> None:
    """Nor does one that podresources does not show in time."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    node.api_works = False
    node.podresources.problem = "connection refused"
    given = node.admit(8)
    assert node.reconciler.before_start(Resource.MEMORY, given, 0.1) == Start(is_recorded=False)


def test_whom_nobody_can_name_starts_once_the_api_server_has_been_asked() -> None:
    """An init container, say: podresources never shows it, and nothing more can be learned."""
    node = Node()
    given = node.admit(8, name="elsewhere")
    assert node.reconciler.before_start(Resource.MEMORY, given, 0.1).refusal == ""


def test_lesson_07_a_record_never_lands_on_a_new_pod_of_that_name() -> None:
    """Recreated since: 422, and nothing is left to do for the old one."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    node.api.objects[PATH]["metadata"]["uid"] = "uid-new"
    node.show(ids("a", range(8)))
    assert node.reconciler.before_start(Resource.MEMORY, ids("a", range(8)), 5.0).is_recorded
    assert node.written() == {}


def test_podresources_that_cannot_be_read_is_the_problem() -> None:
    """The lag shows it too."""
    node = Node()
    node.podresources.problem = "connection refused"
    node.reconciler.sweep()
    assert (node.reconciler.problem, node.reconciler.lag_s() >= 0) == ("podresources cannot be read", True)


def test_the_loop_sweeps_after_every_allocate() -> None:
    """Long before the regular time."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    stop = threading.Event()
    thread = threading.Thread(target=node.reconciler.run, args=(stop,))
    thread.start()
    node.admissions.allocate(Resource.MEMORY, ids("a", range(8)), NODE)
    node.show(ids("a", range(8)))
    until(node.written)
    stop.set()
    node.reconciler.soon()
    thread.join(10.0)
    assert (thread.is_alive(), node.written()) == (False, {"main": placed(a=8)})
