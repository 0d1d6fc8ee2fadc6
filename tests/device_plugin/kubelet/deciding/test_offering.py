"""The kubelet sees held devices as healthy, and NUMA nodes of whole GPUs where they say something true."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_plugin.gpus.devices import Showing, devices_of
from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.deciding.attributing import Attribution, Entry, Grant
from device_plugin.kubelet.deciding.matching import Occupied
from device_plugin.kubelet.deciding.offering import held_by_pods, showing_of
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.settings import NumaHints, Resource
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, all_ids, gpus, ids, pod, sample

NOBODY = Occupied()
MAIN = ContainerKey("uid-p", "main")


def node(*ill: str, **units: int) -> Gpus:
    """GPUs of which some are ill, each on a NUMA node of its own."""
    return Gpus(
        UNIT_MIB,
        tuple(replace(each, healthy=each.uuid not in ill, numa_node=each.index) for each in gpus(**units).samples),
    )


def healthy(resource: Resource, of: Gpus, held: frozenset[str]) -> set[str]:
    """Devices that the kubelet counts."""
    showing = showing_of(resource, of, held, NOBODY, NumaHints.NONE)
    return {device.id for device in devices_of(resource, of, showing) if device.healthy}


def test_held_devices_of_an_ill_gpu_are_shown_as_healthy_and_the_rest_is_not() -> None:
    """16 of 32 units held on the ill GPU: 32 are allocatable and 16 requested, so the other GPU is free to the last."""
    held = ids("a", range(10))
    assert healthy(Resource.MEMORY, node("GPU-a", a=16, b=16), held) == held | ids("b", range(16))
    assert healthy(Resource.MEMORY, node(a=16, b=16), held) == ids("a", range(16)) | ids("b", range(16))


def test_each_resource_is_looked_at_by_itself() -> None:
    """Shares on an ill GPU do not make it a healthy whole one; a whole one that is held stays."""
    assert healthy(Resource.WHOLE, node("GPU-a", a=16, b=16), frozenset()) == {"GPU-b"}
    assert healthy(Resource.WHOLE, node("GPU-a", a=16, b=16), frozenset({"GPU-a"})) == {"GPU-a", "GPU-b"}
    assert healthy(Resource.CORE, node("GPU-a", a=16), frozenset({"GPU-a-c7"})) == {"GPU-a-c7"}


def test_a_held_device_that_the_node_has_not_is_not_made_up() -> None:
    """IDs of an earlier plugin, of a larger unit, or no IDs at all."""
    held = frozenset({"GPU-z-0", "GPU-a-16", "nonsense"})
    assert healthy(Resource.MEMORY, node("GPU-a", a=16), held) == set()


@given(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from(sorted(all_ids(gpus(a=3, b=3, c=3))))))
def test_what_is_free_for_the_scheduler_is_what_is_free_on_healthy_gpus(ill: set[str], held: set[str]) -> None:
    """Allocatable less what pods ask for, whatever is ill and whoever holds what."""
    of = node(*(f"GPU-{name}" for name in ill), a=3, b=3, c=3)
    allocatable = healthy(Resource.MEMORY, of, frozenset(held))
    well = {each for each in all_ids(of) if each[4] not in ill}
    assert len(allocatable) - len(held) == len(well - held)


@pytest.mark.parametrize(
    ("resource", "hints", "aligned"),
    [
        (Resource.WHOLE, NumaHints.NONE, {}),
        (Resource.WHOLE, NumaHints.WHOLE_GPUS, {"GPU-b": 1}),
        (Resource.MEMORY, NumaHints.WHOLE_GPUS, {}),
        (Resource.CORE, NumaHints.WHOLE_GPUS, {}),
    ],
)
def test_numa_nodes_are_told_of_whole_gpus_without_shares_alone(
    resource: Resource, hints: NumaHints, aligned: dict[str, int]
) -> None:
    """The kubelet takes a GPU with shares for a free one, and would align a container to it."""
    of = node(a=2, b=2)
    showing = showing_of(resource, of, frozenset(), Occupied(shared=frozenset({GpuUuid("GPU-a")})), hints)
    told = {device.id: device.numa_node for device in devices_of(resource, of, showing) if device.numa_node is not None}
    assert told == aligned


def test_a_gpu_whose_numa_node_is_not_known_is_not_aligned() -> None:
    """The file system of the kernel says -1, or nothing."""
    showing = Showing(aligned={GpuUuid("GPU-a")})
    assert devices_of(Resource.WHOLE, Gpus(UNIT_MIB, (sample(),)), showing)[0].numa_node is None


def test_devices_are_held_until_their_pod_has_ended() -> None:
    """What kube-scheduler counts: pods that are there and have not ended, by podresources or just granted."""
    first, second = ids("a", range(4)), ids("a", range(4, 8))
    account = Attribution({(MAIN, Resource.MEMORY): first})
    grants = [Grant(Resource.MEMORY, second, 0.0, MAIN)]

    def held(*pods: BoundPod) -> frozenset[str]:
        return held_by_pods(Resource.MEMORY, account, grants, {each.uid: each for each in pods})

    running = pod("p")
    assert held(running) == first | second
    assert held(replace(running, terminating=True)) == first | second
    assert held(replace(running, ended=True)) == frozenset()
    assert held() == frozenset()


def test_devices_of_a_pod_that_is_not_known_are_held() -> None:
    """The API server may be away, and the kubelet knows better."""
    entry = Entry("default", "q", "main", Resource.MEMORY, ids("a", [0]))
    grants = [Grant(Resource.MEMORY, ids("a", [1]), 0.0), Grant(Resource.WHOLE, frozenset({"GPU-b"}), 0.0)]
    found = held_by_pods(Resource.MEMORY, Attribution(unattributed=(entry,)), grants, {})
    assert found == ids("a", [0, 1])
    assert held_by_pods(Resource.WHOLE, Attribution(unattributed=(entry,)), grants, {}) == {"GPU-b"}
