"""What the kubelet gets while it admits pods, and what the account remembers of it."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

import pytest

from device_plugin.gpus.gpu import Gpus
from device_plugin.gpus.standing import Standing
from device_plugin.kubelet.admissions import Admissions
from device_plugin.kubelet.deciding.allocating import Given, Refusal, RefusalKind
from device_plugin.kubelet.deciding.attributing import Entry
from device_plugin.kubelet.deciding.matching import Request
from device_plugin.pods.pod import ContainerKey
from device_plugin.pods.store import PodStore
from device_plugin.settings import DeviceListStrategy, MpsAccess, Resource, Rung
from extender.contract.names import Names
from tests.device_plugin.builders import UNIT_MIB, all_ids, core_ids, gpus, ids, pod_body, relist, sliced
from tests.fakes.podresources_reader import FakePodResources

NODE = gpus(a=16, b=16)


class Node:
    """One node's admissions, with an API server that knows `behind` more pods than the watch has brought."""

    def __init__(
        self,
        *bodies: bytes,
        behind: Sequence[bytes] = (),
        device_nodes: tuple[str, ...] = (),
        mps: bool = False,
    ) -> None:
        self.pods = PodStore(Names(), UNIT_MIB)
        relist(self.pods, bodies)
        self.podresources = FakePodResources()
        self.behind = list(behind)
        self.live_reads = 0
        self.api_works = True
        self.due = threading.Event()
        self.admissions = Admissions(
            pods=self.pods,
            podresources=self.podresources,
            read_pods=self.read_pods,
            strategy=DeviceListStrategy.ENVVAR,
            on_granted=self.due.set,
            mps=MpsAccess(PurePath("/run/mps"), PurePath("/run/mps/shm")) if mps else None,
            device_nodes=lambda uuids, _: (*device_nodes, *uuids) if device_nodes else (),
        )
        self.free = {resource: set(all_ids(NODE, resource)) for resource in Resource}

    def read_pods(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        self.live_reads += 1
        if self.api_works:
            self.pods.merge(self.behind)
        return self.api_works

    def prefer(self, size: int, resource: Resource = Resource.MEMORY, reused: frozenset[str] = frozenset()) -> set[str]:
        """GetPreferredAllocation of the kubelet for one container."""
        request = Request(resource, frozenset(self.free[resource]) | reused, reused, size)
        return set(self.admissions.prefer(request, NODE).ids)

    def allocate(self, found: set[str], resource: Resource = Resource.MEMORY, of: Gpus = NODE) -> Given | Refusal:
        """Allocate of these devices, which are free no more."""
        self.free[resource] -= found
        return self.admissions.allocate(resource, sorted(found), of)

    def show(self, name: str, found: set[str], container: str = "main", resource: Resource = Resource.MEMORY) -> None:
        """Let podresources show it."""
        entry = Entry("default", name, container, resource, frozenset(found))
        self.podresources.entries = (*self.podresources.entries, entry)


def gpus_of(found: set[str]) -> set[str]:
    """Names of the GPUs of some units."""
    return {device_id.rpartition("-")[0] for device_id in found}


def test_the_normal_path_asks_nobody() -> None:
    """A pod whose plan is known, on one GPU: neither API server nor podresources, but for the very first Allocate."""
    node = Node(*(pod_body(f"p{number}", {"main": {"GPU-b": 4}}) for number in range(4)))
    for _ in range(4):
        assert isinstance(node.allocate(node.prefer(4)), Given)
    assert (node.live_reads, node.podresources.reads, node.due.is_set()) == (0, 1, True)


def test_a_container_gets_the_device_nodes_of_its_gpus_once() -> None:
    """With its memory, or its whole GPU; its compute brings none."""
    node = Node(device_nodes=("/dev/nvidiactl",))
    found = [
        node.allocate({"GPU-b-0"}),
        node.allocate({"GPU-a"}, Resource.WHOLE),
        node.allocate({"GPU-b-c0"}, Resource.CORE),
    ]
    assert [each.device_nodes if isinstance(each, Given) else each for each in found] == [
        ("/dev/nvidiactl", "GPU-b"),
        ("/dev/nvidiactl", "GPU-a"),
        (),
    ]


@pytest.mark.parametrize(("mounts", "rung", "core"), [((), "mps", "mps"), (("/dev/shm",), "watched", "none")])
def test_a_container_with_its_own_dev_shm_is_not_said_to_be_held_by_mps(
    mounts: tuple[str, ...], rung: str, core: str
) -> None:
    """Its volume is mounted over that of MPS: it gets the next rung, and is told so."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}, core=30, mounts=mounts), mps=True)
    under_mps = Standing((Rung.MPS, Rung.WATCHED, Rung.ADVISORY))
    of = Gpus(UNIT_MIB, tuple(replace(each, standing=under_mps) for each in NODE))
    memory = node.allocate(node.prefer(8), of=of)
    compute = node.allocate(node.prefer(30, Resource.CORE), Resource.CORE, of=of)
    assert isinstance(memory, Given)
    assert isinstance(compute, Given)
    assert (memory.envs["GPUPACK_ENFORCEMENT"], compute.envs["GPUPACK_GPU_CORE_ENFORCEMENT"]) == (rung, core)
    assert bool(memory.mounts) == bool(compute.mounts) == (rung == "mps")
    assert ("CUDA_MPS_PIPE_DIRECTORY" in memory.envs) == (rung == "mps")


def test_each_container_is_matched_once() -> None:
    """The second request of that size is for the other pod."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}), pod_body("q", {"main": {"GPU-b": 8}}))
    found = [node.prefer(8), set[str]()]
    node.allocate(found[0])
    found[1] = node.prefer(8)
    assert [gpus_of(each) for each in found] == [{"GPU-a"}, {"GPU-b"}]


def test_a_pod_that_the_watch_has_not_brought_is_read_live() -> None:
    """The kubelet is sometimes faster than our watch."""
    node = Node(behind=[pod_body("p", {"main": {"GPU-b": 8}})])
    assert (gpus_of(node.prefer(8)), node.live_reads) == ({"GPU-b"}, 1)


def test_an_api_server_that_is_away_does_not_slow_every_admission() -> None:
    """One try, then none for a while; a GPU with room is given all the same."""
    node = Node()
    node.api_works = False
    found = [node.prefer(8) for _ in range(3)]
    assert ([len(gpus_of(each)) for each in found], node.live_reads) == ([1, 1, 1], 1)


def test_lesson_01_a_swap_is_put_right_by_podresources() -> None:
    """The kubelet admitted q in the place of p; after the read-back p gets the GPU that was planned for q."""
    node = Node(pod_body("p", {"main": {"GPU-a": 16}}), pod_body("q", {"main": {"GPU-b": 16}}))
    first = node.prefer(16)
    node.allocate(first)
    node.show("q", first)
    node.admissions.refresh()
    second = node.prefer(16)
    assert (gpus_of(first), gpus_of(second)) == ({"GPU-a"}, {"GPU-b"})
    assert node.admissions.account().holder(Resource.MEMORY, frozenset(first)) == ContainerKey("uid-q", "main")


def test_lesson_02_init_containers_and_their_reuse() -> None:
    """The app container reuses eight units of its init container and gets four more beside them."""
    plan = {"init": {"GPU-b": 8}, "main": {"GPU-b": 12}}
    node = Node(pod_body("other", {"main": {"GPU-a": 12}}), pod_body("p", plan, init=["init"]))
    init = node.prefer(8)
    node.allocate(init)
    main = node.prefer(12, reused=frozenset(init))
    answer = node.allocate(main)
    assert (gpus_of(init), gpus_of(main), init <= main) == ({"GPU-b"}, {"GPU-b"}, True)
    assert isinstance(answer, Given)
    account = node.admissions.account()
    assert [grant.key for grant in account.grants] == [("uid-p", "init"), ("uid-p", "main")]


def test_devices_reused_without_being_asked_for_go_to_the_same_pod() -> None:
    """The kubelet allocates a smaller app container from the init container's devices on its own."""
    plan = {"init": {"GPU-b": 8}, "main": {"GPU-b": 4}}
    node = Node(pod_body("other", {"main": {"GPU-a": 4}}), pod_body("p", plan, init=["init"]))
    init = node.prefer(8)
    node.allocate(init)
    reused = set(sorted(init)[:4])
    assert isinstance(node.allocate(reused), Given)
    assert node.admissions.account().grants[-1].key == ContainerKey("uid-p", "main")


def test_reused_devices_may_be_spread_as_the_init_container_was() -> None:
    """Three of one GPU and one of the other is what the kubelet made of it; the pod has both anyway."""
    plan = {"init": {"GPU-a": 4, "GPU-b": 4}, "main": {"GPU-a": 2, "GPU-b": 2}}
    node = Node(pod_body("p", plan, init=["init"]))
    init = node.prefer(8)
    node.allocate(init)
    uneven = set(sorted(ids("a", range(16)) & init)[:3]) | set(sorted(ids("b", range(16)) & init)[:1])
    assert isinstance(node.allocate(uneven), Given)


def test_a_planned_spread_is_given() -> None:
    """gpu-count 2."""
    node = Node(pod_body("p", {"main": {"GPU-a": 4, "GPU-b": 4}}))
    answer = node.allocate(node.prefer(8))
    assert isinstance(answer, Given)
    assert dict(answer.gpus) == {"GPU-a": 4, "GPU-b": 4}


def test_a_spread_that_nobody_planned_is_refused_after_a_live_look() -> None:
    """The only room is split over two GPUs."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    node.free[Resource.MEMORY] = set(ids("a", range(5)) | ids("b", range(5)))
    answer = node.allocate(node.prefer(8))
    assert isinstance(answer, Refusal)
    assert (answer.kind, node.live_reads > 0, node.admissions.account().grants) == (RefusalKind.SPREAD, True, ())


def test_a_pod_with_gpu_count_is_never_squeezed_onto_one_gpu() -> None:
    """Eight units are free on one GPU only; it asks for four on each of two, and is refused with the reason."""
    node = Node(pod_body("p", {"main": {"GPU-a": 4, "GPU-b": 4}}, gpu_count=2))
    node.free[Resource.MEMORY] -= ids("b", range(14))
    answer = node.allocate(node.prefer(8))
    assert isinstance(answer, Refusal)
    assert (answer.kind, "expected 2 for this container" in answer.reason) == (RefusalKind.SPREAD, True)


def test_a_spread_without_a_question_before_is_given_when_a_pending_pod_planned_one() -> None:
    """A topology manager may take devices without asking for a preference."""
    node = Node(behind=[pod_body("p", {"main": {"GPU-a": 4, "GPU-b": 4}})])
    answer = node.allocate(set(ids("a", range(4)) | ids("b", range(4))))
    assert (isinstance(answer, Given), node.live_reads) == (True, 1)


def test_two_shapes_of_one_size_are_told_apart_by_the_pods_that_the_kubelet_knows() -> None:
    """It takes in a pod and admits it before it takes in the next; the younger one came first here."""
    node = Node(
        pod_body("one", {"main": {"GPU-a": 8}}),
        pod_body("two", {"main": {"GPU-a": 4, "GPU-b": 4}}, gpu_count=2),
    )
    node.podresources.pods = frozenset({("default", "two")})
    node.podresources.refuses = 3  # above a hundred questions a second
    second = node.prefer(8)
    assert isinstance(node.allocate(second), Given)
    node.podresources.pods |= {("default", "one")}
    first = node.prefer(8)
    assert isinstance(node.allocate(first), Given)
    assert (gpus_of(second), gpus_of(first)) == ({"GPU-a", "GPU-b"}, {"GPU-a"})
    assert [grant.key for grant in node.admissions.account().grants] == [("uid-two", "main"), ("uid-one", "main")]


@pytest.mark.parametrize("resource", [Resource.WHOLE, Resource.MEMORY])
@pytest.mark.parametrize("models", [("", "T4"), ("A100", "T4"), ("!T4", "T4")])
def test_pods_for_different_models_are_told_apart_by_the_pods_that_the_kubelet_knows(
    resource: Resource, models: tuple[str, str]
) -> None:
    """The younger one came first here: each gets the GPU that was planned for it, and nobody the other's."""
    size, asks = (1, "gpupack.io/gpu") if resource is Resource.WHOLE else (8, "gpupack.io/gpu-mem")
    node = Node(
        *(
            pod_body(name, {"main": {uuid: 8}}, resource=asks, amounts={"main": size}, gpu_model=model)
            for name, uuid, model in zip(("one", "two"), ("GPU-a", "GPU-b"), models, strict=True)
        )
    )
    found = {}
    for name in ("two", "one"):
        node.podresources.pods |= {("default", name)}
        found[name] = node.prefer(size, resource)
        assert isinstance(node.allocate(found[name], resource), Given)
    assert [gpus_of(found[name]) if size > 1 else found[name] for name in ("one", "two")] == [{"GPU-a"}, {"GPU-b"}]


@pytest.mark.parametrize("first", [Resource.MEMORY, Resource.CORE])
def test_memory_and_compute_of_a_container_come_from_one_gpu(first: Resource) -> None:
    """Whichever of the two the kubelet asks for first; another pod of the same memory waits for another GPU."""
    node = Node(pod_body("small", {"main": {"GPU-a": 8}}, core=20), pod_body("large", {"main": {"GPU-b": 8}}, core=50))
    node.podresources.pods = frozenset({("default", "large")})
    second = Resource.CORE if first is Resource.MEMORY else Resource.MEMORY
    found: dict[Resource, set[str]] = {}
    for resource in (first, second):
        found[resource] = node.prefer(50 if resource is Resource.CORE else 8, resource)
        assert isinstance(node.allocate(found[resource], resource), Given)
    assert (gpus_of(found[Resource.MEMORY]), gpus_of(found[Resource.CORE])) == ({"GPU-b"}, {"GPU-b"})
    assert node.live_reads == 0


def test_compute_follows_memory_that_went_elsewhere() -> None:
    """The planned GPU has no room for the memory."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}, core=50))
    node.free[Resource.MEMORY] -= ids("a", range(16))
    node.allocate(node.prefer(8))
    compute = node.prefer(50, Resource.CORE)
    assert (gpus_of(compute), isinstance(node.allocate(compute, Resource.CORE), Given)) == ({"GPU-b"}, True)


def test_compute_keeps_no_gpu_from_being_given_as_a_whole() -> None:
    """It may be an account shifted from another GPU; memory alone says where a container runs."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}, core=50))
    node.free[Resource.CORE] -= core_ids("a", range(100))
    node.allocate(node.prefer(8))
    assert isinstance(node.allocate(node.prefer(50, Resource.CORE), Resource.CORE), Given)
    assert isinstance(node.allocate({"GPU-b"}, Resource.WHOLE), Given)


@pytest.mark.parametrize("shown", [True, False])
def test_a_gpu_given_as_a_whole_is_not_shared(shown: bool) -> None:  # noqa: FBT001 - a table of cases
    """Whether the kubelet shows it already or it was given a moment ago."""
    node = Node(pod_body("w", {"main": {"GPU-a": 16}}, resource="gpupack.io/gpu", amounts={"main": 1}))
    assert isinstance(node.allocate(node.prefer(1, Resource.WHOLE), Resource.WHOLE), Given)
    if shown:
        node.show("w", {"GPU-a"}, resource=Resource.WHOLE)
        node.admissions.refresh()
    answer = node.allocate(set(ids("a", range(8))))
    assert isinstance(answer, Refusal)
    assert (answer.kind, gpus_of(node.prefer(8))) == (RefusalKind.OCCUPIED, {"GPU-b"})


def test_a_shared_gpu_is_not_given_as_a_whole() -> None:
    """The other way round."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    node.allocate(node.prefer(8))
    answer = node.allocate({"GPU-a"}, Resource.WHOLE)
    assert isinstance(answer, Refusal)
    assert answer.kind is RefusalKind.OCCUPIED


def test_what_has_ended_stands_in_nobodys_way() -> None:
    """The account is behind; a live look at podresources clears it before anything is refused."""
    node = Node(pod_body("w", {"main": {"GPU-a": 16}}, resource="gpupack.io/gpu", amounts={"main": 1}))
    node.allocate({"GPU-a"}, Resource.WHOLE)
    node.show("w", {"GPU-a"}, resource=Resource.WHOLE)
    node.admissions.refresh()
    node.podresources.entries = ()
    assert isinstance(node.allocate(set(ids("a", range(8)))), Given)


def test_podresources_that_cannot_be_read_does_not_stop_the_normal_path() -> None:
    """Allocate needs the IDs only."""
    node = Node(pod_body("p", {"main": {"GPU-a": 8}}))
    node.podresources.problem = "connection refused"
    assert (isinstance(node.allocate(node.prefer(8)), Given), node.admissions.refresh()) == (True, False)


def test_the_account_finds_holders_of_init_containers_and_unattributed_devices() -> None:
    """Podresources shows neither the one nor, for now, whose the other is."""
    node = Node(pod_body("p", {"init": {"GPU-a": 8}}, init=["init"]))
    init = node.prefer(8)
    node.allocate(init)
    node.show("unknown", set(ids("b", [0])))
    node.admissions.refresh()
    account = node.admissions.account()
    key = ContainerKey("uid-p", "init")
    assert account.init_holder(Resource.MEMORY, frozenset(init), node.pods.pods()) == key
    assert account.has_unattributed(Resource.MEMORY, ids("b", range(4)))
    assert account.holder(Resource.MEMORY, ids("b", range(4))) is None


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (pod_body("p", {"main": {"GPU-b": 1}}, resource="gpupack.io/gpu"), True),
        (pod_body("p", {"main": {}}, resource="gpupack.io/gpu", amounts={"main": 1}, gpu_model="*MIG*"), True),
        (pod_body("p", {"main": {}}, resource="gpupack.io/gpu", amounts={"main": 1}, gpu_model="A100*"), False),
        (pod_body("p", {"main": {}}, resource="gpupack.io/gpu", amounts={"main": 1}), False),
    ],
)
def test_a_whole_mig_device_needs_a_plan_or_a_model_that_names_it(body: bytes, given: bool) -> None:  # noqa: FBT001
    """An extender from before MIG plans it for any pod; who is bound past it gets one only by its gpu-model."""
    node, split = Node(body), sliced("b", b=9)
    request = Request(Resource.WHOLE, frozenset({"GPU-b"}), frozenset(), 1)
    choice = node.admissions.prefer(request, split)
    assert choice.ids == ("GPU-b",)
    answer = node.admissions.allocate(Resource.WHOLE, choice.ids, split)
    assert isinstance(answer, Given) is given
    assert given or (isinstance(answer, Refusal) and answer.kind is RefusalKind.MIG and node.live_reads > 0)


def test_a_pod_that_the_watch_has_not_brought_may_take_a_mig_device_whole() -> None:
    """Its gpu-model is read before it is refused one."""
    behind = pod_body("p", {"main": {}}, resource="gpupack.io/gpu", amounts={"main": 1}, gpu_model="*MIG*")
    node = Node(behind=[behind])
    assert isinstance(node.admissions.allocate(Resource.WHOLE, ["GPU-b"], sliced("b", b=9)), Given)
    assert node.live_reads == 1
