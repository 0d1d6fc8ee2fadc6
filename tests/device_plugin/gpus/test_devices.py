"""Device IDs belong to GPUs: forth and back, within the kubelet's limits."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_plugin.gpus.devices import (
    LONGEST_ID,
    LONGEST_MESSAGE_BYTES,
    Device,
    DeviceIdError,
    by_gpu,
    check_message,
    core_id,
    devices_of,
    message_bytes,
    parse_id,
    unit_id,
)
from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.kubelet.v1beta1.deviceplugin_pb2 import Device as WireDevice
from device_plugin.kubelet.v1beta1.deviceplugin_pb2 import ListAndWatchResponse, NUMANode, TopologyInfo
from device_plugin.settings import Resource
from extender.contract.names import Names
from extender.contract.units import GpuUuid, UnitMib
from tests.device_plugin.builders import UNIT_MIB, gpus, sample

UUIDS = st.text("abcdef0123456789-", min_size=1, max_size=54).map(lambda tail: GpuUuid(f"GPU-{tail}"))


@given(UUIDS, st.integers(min_value=0, max_value=9999))
def test_an_id_names_its_gpu_and_unit(uuid: GpuUuid, number: int) -> None:
    """Writing and reading gives the same; no ID is longer than the kubelet takes."""
    text = unit_id(uuid, number)
    assert (parse_id(Resource.MEMORY, text), len(text) <= LONGEST_ID) == ((uuid, number), True)


@given(st.uuids(), st.integers(min_value=0, max_value=9999), st.integers(min_value=0, max_value=99))
def test_ids_of_mig_devices_are_short_enough_for_every_resource(own: UUID, unit: int, percent: int) -> None:
    """And each is read as that MIG device's."""
    uuid = GpuUuid(f"MIG-{own}")
    ids = {Resource.MEMORY: unit_id(uuid, unit), Resource.CORE: core_id(uuid, percent), Resource.WHOLE: str(uuid)}
    read = [parse_id(resource, text) for resource, text in ids.items()]
    assert read == [(uuid, unit), (uuid, percent), (uuid, 0)]
    assert max(len(Device(text, healthy=True).id) for text in ids.values()) <= LONGEST_ID


@given(st.text(max_size=80))
def test_no_text_is_read_as_another_id(text: str) -> None:
    """What can be read writes back to the same text; the rest is an error."""
    try:
        uuid, number = parse_id(Resource.MEMORY, text)
    except DeviceIdError:
        return
    assert unit_id(uuid, number) == text


@pytest.mark.parametrize("text", ["", "GPU", "-1", "GPU-a-", "GPU-a-01", "GPU-a-x", "GPU-a-٣", "G" * 62 + "-0"])
def test_foreign_ids_are_errors(text: str) -> None:
    """Leading zeros, other digits and over-long texts included."""
    with pytest.raises(DeviceIdError, match="expected <GPU uuid>-<n>"):
        parse_id(Resource.MEMORY, text)


def test_an_id_that_the_kubelet_would_refuse_is_an_error() -> None:
    """Found while advertising, not as a silent gap."""
    with pytest.raises(DeviceIdError, match="at most 63"):
        unit_id(GpuUuid("G" * 62), 10)
    with pytest.raises(DeviceIdError, match="1 to 63"):
        Device("G" * 64, healthy=True)


def test_units_and_whole_gpus_are_advertised_side_by_side() -> None:
    """One device per unit and one per GPU; an unhealthy GPU's devices are unhealthy in both."""
    node = Gpus(UNIT_MIB, (sample("GPU-a", 2), sample("GPU-b", 1, healthy=False, reason="XID 79")))
    assert [devices_of(resource, node) for resource in (Resource.MEMORY, Resource.WHOLE)] == [
        (Device("GPU-a-0", True), Device("GPU-a-1", True), Device("GPU-b-0", False)),
        (Device("GPU-a", True), Device("GPU-b", False)),
    ]


def test_a_gpu_smaller_than_a_unit_has_no_shares() -> None:
    """It can still be had as a whole."""
    node = Gpus(UNIT_MIB, (GpuSample(GpuUuid("GPU-a"), 0, "tiny", 512),))
    assert [devices_of(resource, node) for resource in (Resource.MEMORY, Resource.WHOLE)] == [
        (),
        (Device("GPU-a", True),),
    ]


def test_compute_is_one_device_per_percent() -> None:
    """A hundred on each GPU, unhealthy where the GPU is."""
    node = Gpus(UNIT_MIB, (sample("GPU-a", 2), sample("GPU-b", 1, healthy=False, reason="XID 79")))
    devices = devices_of(Resource.CORE, node)
    assert [device.id for device in devices] == [f"GPU-{gpu}-c{percent}" for gpu in "ab" for percent in range(100)]
    assert {device.healthy for device in devices[:100]} == {True}
    assert {device.healthy for device in devices[100:]} == {False}


@given(UUIDS, st.integers(min_value=0, max_value=99))
def test_an_id_of_compute_names_its_gpu_and_is_no_memory(uuid: GpuUuid, number: int) -> None:
    """Nor is one of memory read as compute."""
    text = core_id(uuid, number)
    assert (parse_id(Resource.CORE, text), len(text) <= LONGEST_ID) == ((uuid, number), True)
    with pytest.raises(DeviceIdError):
        parse_id(Resource.MEMORY, text)
    with pytest.raises(DeviceIdError):
        parse_id(Resource.CORE, unit_id(uuid, number))


def test_a_gpu_has_no_more_than_a_hundred_percent() -> None:
    """Found while advertising."""
    with pytest.raises(DeviceIdError, match="expected c0 to c99"):
        core_id(GpuUuid("GPU-a"), 100)


def test_grouping_keeps_the_order_of_the_numbers() -> None:
    """The kubelet sends a set; 10 comes after 9."""
    assert by_gpu(Resource.MEMORY, {"GPU-a-10", "GPU-b-0", "GPU-a-9"}) == {
        GpuUuid("GPU-a"): ["GPU-a-9", "GPU-a-10"],
        GpuUuid("GPU-b"): ["GPU-b-0"],
    }
    assert by_gpu(Resource.CORE, {"GPU-a-c10", "GPU-a-c9"}) == {GpuUuid("GPU-a"): ["GPU-a-c9", "GPU-a-c10"]}


def test_resources_have_the_installations_names() -> None:
    """The whole-GPU resource may keep NVIDIA's name."""
    names = Names("example.com", "nvidia.com/gpu")
    assert [resource.name_in(names) for resource in Resource] == [
        "example.com/gpu-mem",
        "nvidia.com/gpu",
        "example.com/gpu-core",
    ]


@given(
    st.lists(
        st.builds(
            Device,
            id=st.text("abc-0", min_size=1, max_size=63),
            healthy=st.booleans(),
            numa_node=st.none() | st.integers(min_value=0, max_value=2**31),
        ),
        max_size=20,
    )
)
def test_lesson_11_the_size_of_a_message_is_never_underestimated(devices: list[Device]) -> None:
    """The bound that is checked at start holds for what gRPC really sends."""
    message = ListAndWatchResponse(
        devices=[
            WireDevice(
                ID=device.id,
                health="Healthy" if device.healthy else "Unhealthy",
                topology=None if device.numa_node is None else TopologyInfo(nodes=[NUMANode(ID=device.numa_node)]),
            )
            for device in devices
        ]
    )
    assert message.ByteSize() <= message_bytes(devices)


def test_lesson_11_a_unit_too_small_for_grpc_is_refused() -> None:
    """64 GPUs of 288 GiB at 256 MiB fit no message of 4 MiB; at 1 GiB they do."""
    many = tuple(GpuSample(GpuUuid(f"GPU-{index:036d}"), index, "huge", 288 * 1024, numa_node=0) for index in range(64))
    check_message(Gpus(UnitMib(1024), many))
    with pytest.raises(ValueError, match=rf"256 MiB .* less than {LONGEST_MESSAGE_BYTES}: choose a larger unit"):
        check_message(Gpus(UnitMib(256), many))


def test_eight_gpus_of_141_gib_are_far_below_the_limit() -> None:
    """The common large node, with the smallest unit."""
    node = Gpus(UnitMib(256), gpus(**{f"{'a' * 35}{number}": 141 for number in range(8)}).samples)
    assert message_bytes(devices_of(Resource.MEMORY, node)) < LONGEST_MESSAGE_BYTES / 10
