"""GetPreferredAllocation answers with IDs on the GPU that the extender chose for the container being admitted."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_plugin.gpus.devices import gpu_of
from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.deciding.matching import (
    Candidate,
    Choice,
    Occupied,
    Request,
    Reserved,
    Shape,
    among,
    candidates,
    is_ambiguous,
    prefer,
    reserved_by,
)
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.settings import Resource
from extender.contract.containers import ContainerKind
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, all_ids, core_ids, gpus, ids, memory, placed, pod, sliced, whole

NOBODY = Occupied()
SILENCE = Reserved({}, frozenset())


def ask(
    node: Gpus,
    size: int,
    *pods: BoundPod,
    available: frozenset[str] | None = None,
    must_include: frozenset[str] = frozenset(),
    occupied: Occupied = NOBODY,
    resource: Resource = Resource.MEMORY,
) -> Choice:
    """The whole way of one request where nothing was given yet."""
    free = all_ids(node, resource) if available is None else available
    request = Request(resource, free | must_include, must_include, size)
    found = candidates(resource, size, pods, frozenset())
    return prefer(request, found, node, occupied, reserved_by(pods, frozenset()))


def spread(choice: Choice, resource: Resource = Resource.MEMORY) -> dict[str, int]:
    """Devices on each GPU of an answer."""
    return dict(Counter(gpu_of(resource, device_id) for device_id in choice.ids))


@pytest.mark.parametrize("resource", list(Resource))
def test_an_ill_gpu_is_avoided_though_the_kubelet_offers_its_devices(resource: Resource) -> None:
    """Those of a container that has just ended: they were shown as healthy as long as it held them."""
    well = gpus(a=16, b=16)
    node = replace(well, samples=(replace(well.samples[0], healthy=False), well.samples[1]))
    assert spread(ask(node, 1, resource=resource), resource) == {"GPU-b": 1}
    planned = pod("p", memory(units=8), plan={"main": placed(a=8)})
    choice = ask(node, 8, planned)
    assert (spread(choice), choice.is_planned) == ({"GPU-b": 8}, False)


def test_the_planned_gpu_is_used_even_where_another_is_tighter() -> None:
    """Policy is the extender's, not the plugin's."""
    choice = ask(gpus(a=8, b=80), 8, pod("p", plan={"main": placed(b=8)}))
    assert (spread(choice), choice.key) == ({"GPU-b": 8}, ContainerKey("uid-p", "main"))


def test_the_oldest_bound_pod_of_that_size_comes_first() -> None:
    """The kubelet admits pods in the order in which they were bound."""
    pods = [
        pod("young", plan={"main": placed(a=8)}, order=2),
        pod("old", plan={"main": placed(b=8)}, order=1),
        pod("other-size", memory(units=4), plan={"main": placed(a=4)}, order=0),
    ]
    assert ask(gpus(a=16, b=16), 8, *pods).key == ContainerKey("uid-old", "main")


def test_a_plan_that_has_no_room_leaves_the_place_to_the_next_candidate() -> None:
    """The first is then most likely served already, and its news is late."""
    pods = [pod("p", plan={"main": placed(a=8)}, order=1), pod("q", plan={"main": placed(b=8)}, order=2)]
    assert ask(gpus(a=16, b=16), 8, *pods, available=ids("b", range(16))).key == ContainerKey("uid-q", "main")


def test_gpu_count_spreads_evenly_as_planned() -> None:
    """Two GPUs, half each."""
    plan = {"main": placed(a=4, c=4)}
    assert spread(ask(gpus(a=16, b=16, c=16), 8, pod("p", plan=plan, gpu_count=2))) == {"GPU-a": 4, "GPU-c": 4}


def test_gpu_count_without_a_plan_spreads_too() -> None:
    """A pod bound by hand keeps its own wish."""
    choice = ask(gpus(a=16, b=16, c=3), 7, pod("p", memory(units=7), gpu_count=2))
    assert (spread(choice), choice.gpu_count) == ({"GPU-a": 4, "GPU-b": 3}, 2)


def test_containers_of_a_pod_are_admitted_in_their_order() -> None:
    """Init containers first, then as the pod's spec has them."""
    needs = (memory("init", 8, ContainerKind.INIT), memory("one"), memory("two"))
    found = candidates(Resource.MEMORY, 8, [pod("p", *needs)], frozenset())
    assert [candidate.key.container for candidate in found] == ["init", "one", "two"]


def test_a_pod_in_the_middle_of_its_admission_comes_before_older_ones() -> None:
    """The kubelet admits all containers of one pod before the next pod."""
    pods = [pod("old", order=1), pod("begun", memory("one"), memory("two"), order=2)]
    taken = {(ContainerKey("uid-begun", "one"), Resource.MEMORY)}
    found = candidates(Resource.MEMORY, 8, pods, taken)
    assert [candidate.key for candidate in found] == [("uid-begun", "two"), ("uid-old", "main")]


def test_a_container_whose_pod_waits_for_an_earlier_one_comes_last() -> None:
    """`two` cannot be asked for before `one`."""
    pods = [pod("blocked", memory("one", 4), memory("two"), order=1), pod("free", order=2)]
    found = candidates(Resource.MEMORY, 8, pods, frozenset())
    assert [candidate.key for candidate in found] == [("uid-free", "main"), ("uid-blocked", "two")]


def test_an_init_container_is_passed_once_a_later_container_has_its_devices() -> None:
    """Podresources never shows plain init containers."""
    needs = (memory("init", 8, ContainerKind.INIT), memory("one", 4), memory("two", 8))
    taken = {(ContainerKey("uid-p", "one"), Resource.MEMORY)}
    found = candidates(Resource.MEMORY, 8, [pod("p", *needs)], taken)
    assert [candidate.key.container for candidate in found] == ["two"]


def test_reused_init_devices_point_to_their_pod() -> None:
    """An app container larger than its init container must include the init container's devices."""
    needs = (memory("init", 4, ContainerKind.INIT), memory("main", 8))
    pods = [pod("old", order=1, plan={"main": placed(a=8)}), pod("p", *needs, order=2, plan={"main": placed(b=8)})]
    reused = ids("b", range(12, 16))
    found = candidates(Resource.MEMORY, 8, pods, {(ContainerKey("uid-p", "init"), Resource.MEMORY)}, reused={"uid-p"})
    request = Request(Resource.MEMORY, ids("a", range(16)) | ids("b", range(16)), reused, 8)
    choice = prefer(request, found, gpus(a=16, b=16), NOBODY, SILENCE)
    assert (choice.key, spread(choice), reused <= set(choice.ids)) == (("uid-p", "main"), {"GPU-b": 8}, True)


def test_a_pod_whose_devices_must_be_included_comes_before_another_that_has_begun() -> None:
    """Only its own containers reuse them."""
    begun = pod("begun", memory("one", 4), memory("two"), order=1)
    pods = [begun, pod("p", memory("init", 4, ContainerKind.INIT), memory("main"), order=2)]
    taken = {(ContainerKey("uid-begun", "one"), Resource.MEMORY), (ContainerKey("uid-p", "init"), Resource.MEMORY)}
    found = candidates(Resource.MEMORY, 8, pods, taken, reused={"uid-p"})
    assert [candidate.key for candidate in found] == [("uid-p", "main"), ("uid-begun", "two")]


def test_pods_that_are_being_deleted_are_no_candidates_and_reserve_nothing() -> None:
    """The kubelet no longer admits them."""
    deleted = replace(pod("p", plan={"main": placed(a=8)}), terminating=True)
    assert candidates(Resource.MEMORY, 8, [deleted], frozenset()) == []
    assert reserved_by([deleted], frozenset()) == SILENCE


def test_a_plan_with_less_than_must_be_included_on_a_gpu_is_not_followed() -> None:
    """All that must be included is in the answer, and no device too many."""
    reused = ids("b", range(4))
    planned = pod("p", memory(units=6), plan={"main": placed(a=4, b=2)}, gpu_count=2)
    choice = ask(gpus(a=16, b=16), 6, planned, must_include=reused)
    assert (choice.is_planned, len(choice.ids), reused <= set(choice.ids)) == (False, 6, True)


def test_where_no_gpu_has_room_the_emptiest_open_ones_are_used() -> None:
    """Allocate then names a reason that is true: no GPU that is closed, and as few as can be."""
    free = ids("a", range(6)) | ids("b", range(8)) | ids("c", range(16))
    occupied = Occupied(whole=frozenset({GpuUuid("GPU-c")}))
    assert spread(ask(gpus(a=16, b=16, c=16), 10, available=free, occupied=occupied)) == {"GPU-b": 8, "GPU-a": 2}


def test_compute_without_a_plan_keeps_off_a_gpu_that_is_planned_as_a_whole() -> None:
    """A container with the whole GPU has all its compute."""
    planned = pod("p", whole(), plan={"main": placed(a=16)})
    assert spread(ask(gpus(a=16, b=16), 30, planned, resource=Resource.CORE), Resource.CORE) == {"GPU-b": 30}


def test_without_a_plan_the_gpu_of_the_reused_devices_comes_first() -> None:
    """Even where another GPU is tighter: all of one container's devices are on one GPU."""
    reused = ids("a", range(2))
    free = ids("a", range(2, 10)) | ids("b", range(9))
    choice = ask(gpus(a=16, b=16), 6, available=free, must_include=reused)
    assert (spread(choice), reused <= set(choice.ids)) == ({"GPU-a": 6}, True)


def test_without_a_plan_a_gpu_that_is_shared_already_comes_before_an_empty_one() -> None:
    """Even where the empty one is tighter: it stays free as a whole."""
    free = ids("a", range(8)) | ids("b", range(20, 80))
    assert spread(ask(gpus(a=8, b=80), 4, available=free)) == {"GPU-b": 4}


@pytest.mark.parametrize(
    "state",
    [
        {"admitted": True},
        {"allocated": {"main": placed(a=8)}},
    ],
)
def test_served_pods_are_no_candidates(state: dict[str, object]) -> None:
    """The kubelet has admitted them: by status, or by the record on the pod."""
    served = pod("p", plan={"main": placed(a=8)}, **state)  # type: ignore[arg-type]  # a table of keyword arguments
    assert candidates(Resource.MEMORY, 8, [served], frozenset()) == []


def test_without_a_pending_pod_the_tightest_shared_gpu_is_taken() -> None:
    """An untouched GPU stays whole as long as a shared one has room."""
    free = ids("a", range(16)) | ids("b", range(70, 80)) | ids("c", range(70, 79))
    choice = ask(gpus(a=16, b=80, c=80), 8, available=free)
    assert (spread(choice), choice.key) == ({"GPU-c": 8}, None)


def test_a_fallback_keeps_out_of_the_way_of_planned_containers() -> None:
    """GPU-a is tighter, but its room is planned for a container of another size."""
    planned = pod("planned", memory(units=10), plan={"main": placed(a=10)})
    assert spread(ask(gpus(a=16, b=80), 8, planned)) == {"GPU-b": 8}


def test_a_gpu_given_out_as_a_whole_is_never_offered_in_shares() -> None:
    """Even where it was planned: the plan was late."""
    occupied = Occupied(whole=frozenset({GpuUuid("GPU-a")}))
    assert spread(ask(gpus(a=8, b=80), 8, pod("p", plan={"main": placed(a=8)}), occupied=occupied)) == {"GPU-b": 8}


def test_a_shared_gpu_is_never_offered_as_a_whole() -> None:
    """Whole GPUs come from those that nobody shares and nobody is about to share."""
    occupied = Occupied(shared=frozenset({GpuUuid("GPU-a")}))
    sharer = pod("sharer", plan={"main": placed(b=8)})
    choice = ask(gpus(a=16, b=16, c=16), 1, sharer, resource=Resource.WHOLE, occupied=occupied)
    assert choice.ids == ("GPU-c",)


def test_whole_gpus_are_given_as_planned() -> None:
    """Two of four."""
    planned = pod("p", whole(count=2), plan={"main": placed(b=16, d=16)})
    choice = ask(gpus(a=16, b=16, c=16, d=16), 2, planned, resource=Resource.WHOLE)
    assert (choice.ids, choice.key) == (("GPU-b", "GPU-d"), ("uid-p", "main"))


def test_compute_is_taken_from_the_gpus_of_the_plan() -> None:
    """As much of each."""
    planned = pod("p", memory(core=60), plan={"main": placed(a=4, c=4)}, gpu_count=2)
    choice = ask(gpus(a=16, b=16, c=16), 60, planned, resource=Resource.CORE)
    assert (spread(choice, Resource.CORE), choice.key) == ({"GPU-a": 30, "GPU-c": 30}, ("uid-p", "main"))


def test_compute_follows_the_memory_that_did_not_go_as_planned() -> None:
    """The planned GPU was full of something."""
    key = ContainerKey("uid-p", "main")
    planned = pod("p", memory(core=60), plan={"main": placed(a=8)})
    taken = {(key, Resource.MEMORY)}
    found = candidates(Resource.CORE, 60, [planned], taken, memory_on={key: {GpuUuid("GPU-b")}})
    node = gpus(a=16, b=16)
    request = Request(Resource.CORE, all_ids(node, Resource.CORE), frozenset(), 60)
    assert spread(prefer(request, found, node, NOBODY, SILENCE), Resource.CORE) == {"GPU-b": 60}


def test_compute_that_is_not_left_beside_the_memory_comes_from_elsewhere() -> None:
    """The container runs all the same; GPUs that are given out as a whole come last."""
    planned = pod("p", memory(core=60), plan={"main": placed(a=8)})
    free = core_ids("a", range(50)) | core_ids("b", range(100)) | core_ids("c", range(100))
    occupied = Occupied(whole=frozenset({GpuUuid("GPU-b")}))
    node = gpus(a=16, b=16, c=16)
    choice = ask(node, 60, planned, resource=Resource.CORE, available=free, occupied=occupied)
    assert spread(choice, Resource.CORE) == {"GPU-c": 60}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (pod("q", memory(core=20)), True),
        (pod("q", gpu_count=2), True),
        (pod("q", gpu_model="T4"), True),
        (pod("q", gpu_model="!*MIG*"), True),
        (pod("q"), False),
        (pod("q", memory(units=4), gpu_count=2), False),
    ],
)
def test_two_shapes_of_one_size_are_ambiguous(other: BoundPod, expected: bool) -> None:  # noqa: FBT001 - a table of cases
    """Which is the one that is being admitted matters only then."""
    assert is_ambiguous(candidates(Resource.MEMORY, 8, [pod("p"), other], frozenset())) is expected


def test_only_pods_that_the_kubelet_knows_can_be_in_admission() -> None:
    """Where it names none of them, that says nothing."""
    pods = {each.uid: each for each in (pod("p", order=1), pod("q", gpu_count=2, order=2))}
    found = candidates(Resource.MEMORY, 8, pods.values(), frozenset())
    assert [one.key.uid for one in among(found, pods, {("default", "q"), ("default", "x")})] == ["uid-q"]
    assert among(found, pods, {("default", "x")}) == found


def test_when_no_gpu_has_room_the_kubelet_gets_what_there_is() -> None:
    """Allocate then refuses it with a reason; an error here would say less."""
    choice = ask(gpus(a=16, b=16), 8, available=ids("a", range(5)) | ids("b", range(5)))
    assert (len(choice.ids), choice.key, choice.why) == (8, None, "no GPU has room")


UNITS = {"a": 8, "b": 16, "c": 24}
NODE = gpus(**UNITS)
PLANS = st.dictionaries(
    st.sampled_from([GpuUuid(f"GPU-{name}") for name in UNITS]), st.integers(min_value=1, max_value=8), max_size=3
)


@settings(deadline=None)
@given(
    available=st.sets(st.sampled_from(sorted(all_ids(NODE))), min_size=1),
    must=st.sets(st.sampled_from(sorted(all_ids(NODE))), max_size=6),
    size=st.integers(min_value=1, max_value=48),
    plans=st.lists(PLANS, max_size=3),
    whole_gpus=st.frozensets(st.sampled_from([GpuUuid("GPU-a"), GpuUuid("GPU-b")])),
)
def test_an_answer_conserves_devices(
    available: set[str],
    must: set[str],
    size: int,
    plans: list[dict[GpuUuid, int]],
    whole_gpus: frozenset[GpuUuid],
) -> None:
    """Exactly the size, each once, from what is free, with all that must be; and as planned when that fits."""
    free = frozenset(available | must)
    size = min(len(free), max(size, len(must)))
    found = [
        Candidate(
            ContainerKey("uid", str(number)),
            plan if sum(plan.values()) == size else {},
            len(plan) or 1,
            Shape(1, size, 0),
        )
        for number, plan in enumerate(plans)
    ]
    request = Request(Resource.MEMORY, free, frozenset(must), size)
    choice = prefer(request, found, NODE, Occupied(whole=whole_gpus), SILENCE)
    assert len(choice.ids) == size
    assert set(choice.ids) <= free
    assert must <= set(choice.ids)
    assert len(set(choice.ids)) == size
    if choice.why != "no GPU has room":
        assert not set(spread(choice)) & whole_gpus
        assert len(spread(choice)) <= choice.gpu_count
    room = Counter(gpu_of(Resource.MEMORY, device_id) for device_id in free)
    needed = Counter(gpu_of(Resource.MEMORY, device_id) for device_id in must)
    first = next(
        (
            candidate.plan
            for candidate in found
            if candidate.plan
            and not candidate.plan.keys() & whole_gpus
            and all(needed[uuid] <= amount <= room[uuid] for uuid, amount in candidate.plan.items())
            and needed.keys() <= candidate.plan.keys()
        ),
        None,
    )
    if first is not None:
        assert spread(choice) == dict(first)


@settings(deadline=None, max_examples=25)
@given(st.integers())
def test_lesson_01_same_size_containers_admitted_in_any_order_each_get_one_gpu(seed: int) -> None:
    """Eight GPUs filled by 64 equal containers: whoever is admitted when, nobody is split and nobody is refused."""
    draw = random.Random(seed)
    node = gpus(**dict.fromkeys("abcdefgh", 16))
    names = [(gpu, number) for gpu in "abcdefgh" for number in range(8)]
    pods = [
        pod(f"{gpu}{number}", memory(units=2), plan={"main": placed(**{gpu: 2})}, order=order)
        for order, (gpu, number) in enumerate(draw.sample(names, 64))
    ]
    free, answers = set(all_ids(node)), []
    taken: set[tuple[ContainerKey, Resource]] = set()
    for _ in range(64):
        request = Request(Resource.MEMORY, frozenset(free), frozenset(), 2)
        found = candidates(Resource.MEMORY, 2, pods, taken)
        choice = prefer(request, found, node, NOBODY, reserved_by(pods, taken))
        answers.append((len(spread(choice)), choice.why))
        free -= set(choice.ids)
        assert choice.key is not None
        taken.add((choice.key, Resource.MEMORY))
    assert (answers, free) == ([(1, "as planned")] * 64, set())


def test_a_pod_without_a_plan_keeps_away_from_what_a_kubelet_without_its_checkpoint_has_forgotten() -> None:
    """All devices are offered, but the plugin's own records say which GPUs are in use."""
    running = [
        pod("whole", whole(), allocated={"main": placed(a=80)}, admitted=True),
        pod("share", memory(units=50), allocated={"main": placed(b=50)}, admitted=True),
    ]
    node = gpus(a=80, b=80, c=80)
    by_hand = pod("by-hand", memory(units=40))
    assert spread(ask(node, 40, *running, by_hand)) == {"GPU-c": 40}
    fits_beside = pod("fits-beside", memory(units=30))
    assert spread(ask(node, 30, *running, fits_beside)) == {"GPU-b": 30}
    one = pod("one", whole())
    assert spread(ask(node, 1, *running, one, resource=Resource.WHOLE), Resource.WHOLE) == {"GPU-c": 1}


def test_what_podresources_shows_is_not_counted_a_second_time() -> None:
    """The kubelet has taken those devices out of its offer already; nor do ended init containers count."""
    shown = pod("shown", memory(units=8), allocated={"main": placed(a=8)}, admitted=True)
    held = frozenset({(ContainerKey("uid-shown", "main"), Resource.MEMORY)})
    assert reserved_by([shown], held) == SILENCE
    prepared = pod(
        "prepared",
        memory("prepare", 12, ContainerKind.INIT),
        memory("main", 8),
        allocated={"prepare": placed(a=12), "main": placed(a=8)},
        admitted=True,
    )
    assert reserved_by([prepared], frozenset()) == Reserved(placed(a=8), frozenset())


def test_a_whole_gpu_without_a_plan_is_no_mig_device() -> None:
    """Though they are the fullest that are idle; a pod whose gpu-model names them gets one."""
    node = sliced("b", "c", a=80, b=9, c=9)
    plain, named = pod("p", whole("main", 1)), pod("q", whole("main", 1), gpu_model="*MIG*")
    assert spread(ask(node, 1, plain, resource=Resource.WHOLE), Resource.WHOLE) == {"GPU-a": 1}
    assert spread(ask(node, 1, resource=Resource.WHOLE), Resource.WHOLE) == {"GPU-a": 1}
    assert spread(ask(node, 1, named, resource=Resource.WHOLE), Resource.WHOLE) == {"GPU-b": 1}
    busy = ask(node, 1, plain, available=frozenset({"GPU-b", "GPU-c"}), resource=Resource.WHOLE)
    assert (len(busy.ids), busy.why) == (1, "no GPU has room")


def test_a_plan_on_a_mig_device_is_kept() -> None:
    """Whatever the plugin would choose, the extender knows what the pod accepts."""
    planned = pod("p", whole("main", 1), plan={"main": placed(b=9)})
    choice = ask(sliced("b", a=80, b=9), 1, planned, resource=Resource.WHOLE)
    assert (spread(choice, Resource.WHOLE), choice.is_planned) == ({"GPU-b": 1}, True)


@pytest.mark.parametrize(("model", "expected"), [("T4", "GPU-c"), ("", "GPU-b")])
def test_a_pod_that_names_a_model_leaves_its_plan_for_the_same_model(model: str, expected: str) -> None:
    """The planned GPU has no room; another of its model has more than is needed, one of another model less."""
    node = gpus(a=16, b=8, c=16)
    node = Gpus(UNIT_MIB, tuple(replace(each, model="A10") if each.uuid == "GPU-b" else each for each in node))
    planned = pod("p", plan={"main": placed(a=8)}, gpu_model=model)
    free = ids("b", range(8)) | ids("c", range(16))
    assert spread(ask(node, 8, planned, available=free)) == {expected: 8}


def test_mig_devices_are_not_combined() -> None:
    """Neither for gpu-count nor for several whole GPUs; alone they serve memory."""
    node = sliced("b", "c", a=16, b=9, c=9, d=16)
    assert spread(ask(node, 8, pod("p", memory(units=8)))) == {"GPU-b": 8}
    assert spread(ask(node, 8, pod("p", memory(units=8), gpu_count=2))) == {"GPU-a": 4, "GPU-d": 4}
    several = pod("p", whole("main", 2), gpu_model="*MIG*")
    assert spread(ask(node, 2, several, resource=Resource.WHOLE), Resource.WHOLE) == {"GPU-a": 1, "GPU-d": 1}
