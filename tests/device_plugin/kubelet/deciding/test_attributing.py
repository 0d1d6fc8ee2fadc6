"""What podresources shows is given to the right pods, and plain init containers are not forgotten."""

from dataclasses import replace

import pytest

from device_plugin.kubelet.deciding.attributing import (
    Attribution,
    Entry,
    Grant,
    allocated_of,
    attribute,
    memory_places,
    occupied_by,
    settle,
    taken_by,
)
from device_plugin.kubelet.deciding.matching import Occupied
from device_plugin.pods.pod import BoundPod, ContainerKey, ContainerNeed
from device_plugin.settings import Resource
from extender.contract.containers import ContainerKind
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import core_ids, gpus, ids, memory, placed, pod, whole

NODE = gpus(a=16, b=16)
INIT = ContainerKind.INIT


def entry(pod_name: str, device_ids: frozenset[str], container: str = "main") -> Entry:
    """One line of podresources."""
    return Entry("default", pod_name, container, Resource.MEMORY, device_ids)


def key(pod_name: str, container: str = "main") -> ContainerKey:
    """A container of a builder's pod."""
    return ContainerKey(f"uid-{pod_name}", container)


def by_uid(*pods: BoundPod) -> dict[str, BoundPod]:
    """Pods as the other modules keep them."""
    return {pod.uid: pod for pod in pods}


def test_entries_go_to_the_pod_of_that_name() -> None:
    """An entry of a pod that is not known stays a stranger."""
    unknown = entry("q", ids("b", [0]))
    found = attribute([entry("p", ids("a", range(8))), unknown], [pod("p")], {})
    assert found == Attribution({(key("p"), Resource.MEMORY): ids("a", range(8))}, (unknown,))


def test_lesson_07_the_old_pods_devices_are_not_the_new_pods() -> None:
    """Deleted by force, created again: the kubelet still lists the old one under the same name."""
    earlier = {(ContainerKey("uid-old", "main"), Resource.MEMORY): ids("a", range(8))}
    listed = entry("p", ids("a", range(8)))
    both = [listed, entry("p", ids("b", range(8)))]
    assert attribute([listed], [pod("p")], earlier) == Attribution({}, (listed,))
    assert attribute(both, [pod("p")], earlier) == Attribution(
        {(key("p"), Resource.MEMORY): ids("b", range(8))}, (listed,)
    )


def test_an_admitted_pod_gets_the_only_entry_of_its_name() -> None:
    """It was given the very devices of its predecessor, and the read between was missed."""
    earlier = {(ContainerKey("uid-old", "main"), Resource.MEMORY): ids("a", range(8))}
    listed = entry("p", ids("a", range(8)))
    found = attribute([listed], [pod("p", admitted=True)], earlier)
    assert found.held == {(key("p"), Resource.MEMORY): ids("a", range(8))}
    both = [entry("p", ids("b", range(8))), listed]
    assert attribute(both, [pod("p", admitted=True)], earlier).unattributed == (listed,)


def test_a_grant_ends_when_podresources_shows_it_or_should_have() -> None:
    """Otherwise a pod that was refused after its Allocate would hold its guess for ever."""
    shown = Grant(Resource.MEMORY, ids("a", range(8)), at_s=10.0, key=key("other"))
    fresh = Grant(Resource.MEMORY, ids("b", range(4)), at_s=10.0)
    stale = Grant(Resource.MEMORY, ids("b", range(4, 8)), at_s=2.0)
    early = Grant(Resource.MEMORY, ids("b", range(8, 12)), at_s=10.0)
    attribution = Attribution({(key("p"), Resource.MEMORY): shown.ids}, (entry("unknown", early.ids),))
    assert settle([shown, early, fresh, stale], attribution, by_uid(pod("p")), 11.0, 5.0) == [fresh]


@pytest.mark.parametrize(
    ("needs", "held", "kept"),
    [
        ((memory("init", 8, INIT),), {}, 1),
        ((memory("init", 8, INIT),), {(key("q"), Resource.MEMORY): ids("a", range(8))}, 0),
        ((memory("init", 8, INIT), memory("main", 8)), {(key("p"), Resource.MEMORY): ids("a", range(8))}, 1),
        ((memory("main", 8),), {}, 0),
    ],
)
def test_grants_of_init_containers_last_as_long_as_their_pod(
    needs: tuple[ContainerNeed, ...], held: dict[tuple[ContainerKey, Resource], frozenset[str]], kept: int
) -> None:
    """Unless another pod turns out to hold the devices, or the container is one that podresources would show."""
    grant = Grant(Resource.MEMORY, ids("a", range(8)), at_s=0.0, key=ContainerKey("uid-p", needs[0].name))
    found = settle([grant], Attribution(held), by_uid(pod("p", *needs), pod("q")), 1e6, 5.0)
    assert found == [grant] * kept


def test_of_a_pod_that_has_ended_no_init_container_is_remembered() -> None:
    """Neither its grant nor what is recorded on the pod."""
    ended = replace(pod("p", memory("init", 8, INIT), allocated={"init": placed(a=8)}), ended=True)
    grant = Grant(Resource.MEMORY, ids("a", range(8)), at_s=0.0, key=key("p", "init"))
    assert settle([grant], Attribution(), by_uid(ended), 1e6, 5.0) == []
    assert occupied_by(Attribution(), [], [ended]) == Occupied()


@pytest.mark.parametrize(("at_s", "kept"), [(10.0, 0), (10.9, 1)])
def test_what_a_pod_was_given_that_ended_before_it_was_shown_is_forgotten_soon(at_s: float, kept: int) -> None:
    """Its GPU would be closed to other kinds of pods; a kubelet that still runs it has had time to show it."""
    grants = [Grant(Resource.WHOLE, frozenset({"GPU-a"}), at_s=at_s, key=key(name)) for name in ("gone", "ended")]
    pods = by_uid(replace(pod("ended", whole("main", 1)), ended=True))
    assert settle(grants, Attribution(), pods, 11.0, 5.0) == grants[: 2 * kept]


def test_what_a_running_pod_was_given_is_waited_for() -> None:
    """And what was given nobody knows whom."""
    grants = [Grant(Resource.WHOLE, frozenset({"GPU-a"}), at_s=10.0, key=name) for name in (key("p"), None)]
    assert settle(grants, Attribution(), by_uid(pod("p", whole("main", 1))), 11.0, 5.0) == grants


def test_occupied_gpus_are_those_of_all_that_is_known() -> None:
    """Shown, strange, just granted, and recorded for an init container."""
    init = pod("init", memory("init", 8, INIT), allocated={"init": placed(d=8)})
    attribution = Attribution({(key("p"), Resource.MEMORY): ids("a", [0])}, (entry("q", ids("b", [0])),))
    grants = [Grant(Resource.WHOLE, frozenset({"GPU-c"}), 0.0), Grant(Resource.MEMORY, frozenset({"foreign"}), 0.0)]
    assert occupied_by(attribution, grants, [init]) == Occupied(
        whole=frozenset({GpuUuid("GPU-c")}), shared=frozenset({GpuUuid(f"GPU-{name}") for name in "abd"})
    )


def test_taken_containers_are_the_shown_and_the_granted() -> None:
    """A grant that was meant for nobody takes nobody's place."""
    grants = [Grant(Resource.MEMORY, ids("a", [0]), 0.0), Grant(Resource.MEMORY, ids("a", [1]), 0.0, key("q"))]
    assert taken_by({(key("p"), Resource.MEMORY): ids("b", [0])}, grants) == {
        (key("p"), Resource.MEMORY),
        (key("q"), Resource.MEMORY),
    }


def test_compute_that_podresources_does_not_show_delays_only_a_pod_that_is_being_admitted() -> None:
    """Until then its memory may still be given on another GPU."""
    held = {(key("p"), Resource.MEMORY): ids("a", range(8))}
    need = memory("main", 8, core=30)
    found = [allocated_of(pod("p", need, admitted=admitted), held, [], NODE) for admitted in (False, True)]
    assert found == [None, {"main": placed(a=8)}]


def test_two_init_containers_are_where_the_first_app_container_is() -> None:
    """The second one reuses the devices of the first, and the app container those of both."""
    two = pod("p", memory("one", 4, INIT), memory("two", 2, INIT), memory("main", 8))
    held = {(key("p"), Resource.MEMORY): ids("a", range(8))}
    assert allocated_of(two, held, [], NODE) == {"main": placed(a=8), "one": placed(a=4), "two": placed(a=2)}


def test_an_init_container_is_spread_as_the_app_container_is() -> None:
    """What cannot be divided evenly goes to the first GPUs; fewer whole GPUs may be any of them, so none is named."""
    spread = pod("p", memory("init", 3, INIT), memory("main", 8))
    held = {(key("p"), Resource.MEMORY): ids("a", range(4)) | ids("b", range(4))}
    assert allocated_of(spread, held, [], NODE) == {"main": placed(a=4, b=4), "init": placed(a=2, b=1)}
    wholes = pod("p", whole("init", 1, INIT), whole("main", 2))
    both = {(key("p"), Resource.WHOLE): frozenset({"GPU-a", "GPU-b"})}
    assert allocated_of(wholes, both, [], NODE) == {"main": placed(a=16, b=16)}


def test_lesson_02_every_container_of_a_pod_is_recorded() -> None:
    """Two app containers and a whole GPU."""
    three = pod("p", memory("one", 8), memory("two", 4), whole("three"))
    held = {
        (key("p", "one"), Resource.MEMORY): ids("a", range(8)),
        (key("p", "two"), Resource.MEMORY): ids("a", range(8, 12)),
        (key("p", "three"), Resource.WHOLE): frozenset({"GPU-b"}),
    }
    assert allocated_of(three, held, [], NODE) == {"one": placed(a=8), "two": placed(a=4), "three": placed(b=16)}


def test_nothing_is_recorded_before_all_containers_are_known() -> None:
    """The extender takes the record for the whole pod."""
    held = {(key("p", "one"), Resource.MEMORY): ids("a", range(8))}
    assert allocated_of(pod("p", memory("one", 8), memory("two", 4)), held, [], NODE) is None


def test_a_pod_with_compute_is_recorded_once_it_has_that_too_and_by_its_memory() -> None:
    """Its other Allocate may still come; the record says units of memory."""
    both = pod("p", memory(core=30))
    held = {(key("p"), Resource.MEMORY): ids("a", range(8))}
    assert allocated_of(both, held, [], NODE) is None
    held[key("p"), Resource.CORE] = core_ids("b", range(30))
    assert allocated_of(both, held, [], NODE) == {"main": placed(a=8)}
    init = pod("q", memory("init", 8, INIT, core=30), allocated={}, admitted=True)
    grants = [
        Grant(Resource.MEMORY, ids("a", range(8)), 0.0, key("q", "init")),
        Grant(Resource.CORE, core_ids("b", range(30)), 0.0, key("q", "init")),
    ]
    assert allocated_of(init, {}, grants, NODE) == {"init": placed(a=8)}


def test_where_memory_is_is_known_from_the_kubelet_and_from_grants() -> None:
    """The kubelet's word counts more."""
    grants = [
        Grant(Resource.MEMORY, ids("a", [0]), 0.0, key("p")),
        Grant(Resource.MEMORY, ids("b", [0]), 0.0, key("q")),
        Grant(Resource.CORE, core_ids("a", range(1)), 0.0, key("r")),
    ]
    held = {(key("p"), Resource.MEMORY): ids("b", [1])}
    assert memory_places(held, grants) == {key("p"): {"GPU-b"}, key("q"): {"GPU-b"}}


@pytest.mark.parametrize(
    ("init", "app", "where"),
    [
        (memory("init", 12, INIT), memory("main", 4), placed(b=12)),
        (memory("init", 4, INIT), memory("main", 12), placed(b=4)),
    ],
)
def test_an_init_container_is_where_its_devices_are_reused(
    init: ContainerNeed, app: ContainerNeed, where: dict[GpuUuid, int]
) -> None:
    """Whatever was planned."""
    planned = pod("p", init, app, plan={"init": placed(a=init.memory_units), "main": placed(a=app.memory_units)})
    held = {(key("p"), Resource.MEMORY): ids("b", range(app.memory_units))}
    assert allocated_of(planned, held, [], NODE) == {"init": where, "main": placed(b=app.memory_units)}


def test_an_init_container_on_its_own_is_where_it_was_granted_recorded_or_planned() -> None:
    """In this order; podresources shows nothing of such a pod."""
    grant = Grant(Resource.MEMORY, ids("b", range(8)), 0.0, key("p", "init"))
    need = memory("init", 8, INIT)
    plan = {"init": placed(a=8)}
    recorded = pod("p", need, plan=plan, allocated={"init": placed(b=8)}, admitted=True)
    found = [
        allocated_of(pod("p", need, plan=plan), {}, [grant], NODE),
        allocated_of(recorded, {}, [], NODE),
        allocated_of(pod("p", need, plan=plan, admitted=True), {}, [], NODE),
        allocated_of(pod("p", need, plan=plan), {}, [], NODE),
    ]
    assert found == [{"init": placed(b=8)}, {"init": placed(b=8)}, {"init": placed(a=8)}, None]
