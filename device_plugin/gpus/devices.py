"""Lists the devices that stand for GPUs at the kubelet, and parses their IDs.

`gpu-mem` has one device per memory unit, `<GPU uuid>-<n>` with n from 0; `gpu-core` has one per percent of compute,
`<GPU uuid>-c<n>`; the whole-GPU resource has one per GPU, whose ID is the UUID. So every ID belongs to one physical
GPU, and the kubelet's own account of IDs is an account of GPUs.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.settings import Resource
from extender.contract.units import CORE_PERCENT, GpuUuid, UnitMib

LONGEST_ID = 63
"""Characters that the kubelet accepts in a device ID."""

LONGEST_MESSAGE_BYTES = 4 * 1024 * 1024
"""gRPC's default limit on a received message, which the kubelet keeps."""


class DeviceIdError(ValueError):
    """A device ID that this plugin did not advertise; the message names it."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device as ListAndWatch shows it; `numa_node` is None when the kubelet must not align to it."""

    id: str
    healthy: bool
    numa_node: int | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.id) <= LONGEST_ID:
            raise DeviceIdError(f"device ID {self.id!r}: expected 1 to {LONGEST_ID} characters")


def unit_id(uuid: GpuUuid, number: int) -> str:
    """ID of one memory unit of a GPU.

    Raises:
        DeviceIdError: too long for the kubelet, or a negative number.
    """
    text = f"{uuid}-{number}"
    if number < 0 or len(text) > LONGEST_ID:
        raise DeviceIdError(f"device ID {text!r}: expected a number from 0 and at most {LONGEST_ID} characters")
    return text


def core_id(uuid: GpuUuid, number: int) -> str:
    """ID of one percent of a GPU's compute.

    Raises:
        DeviceIdError: too long for the kubelet, or not a number from 0 to 99.
    """
    text = f"{uuid}-c{number}"
    if not 0 <= number < CORE_PERCENT or len(text) > LONGEST_ID:
        raise DeviceIdError(
            f"device ID {text!r}: expected c0 to c{CORE_PERCENT - 1} and at most {LONGEST_ID} characters"
        )
    return text


def parse_id(resource: Resource, text: str) -> tuple[GpuUuid, int]:
    """GPU and number of a device of any resource; a whole GPU is number 0.

    Raises:
        DeviceIdError: not the form of that resource's IDs.
    """
    if resource is Resource.MEMORY:
        return _numbered(text, "-")
    return _numbered(text, "-c") if resource is Resource.CORE else (GpuUuid(text), 0)


def _numbered(text: str, mark: str) -> tuple[GpuUuid, int]:
    uuid, found, number = text.rpartition(mark)
    canonical = number.isascii() and number.isdigit() and (number == "0" or number[0] != "0")
    if not (found and uuid and canonical and len(text) <= LONGEST_ID):
        raise DeviceIdError(f"device ID {text[:LONGEST_ID]!r}: expected <GPU uuid>{mark}<n>")
    return GpuUuid(uuid), int(number)


def devices_on(resource: Resource, gpus: Gpus, uuid: GpuUuid) -> int:
    """How many devices of a resource a GPU of the node has."""
    if resource is Resource.MEMORY:
        return gpus.units(uuid)
    return CORE_PERCENT if resource is Resource.CORE else 1


def gpu_of(resource: Resource, device_id: str) -> GpuUuid:
    """The GPU that a device belongs to.

    Raises:
        DeviceIdError: not the form of that resource's IDs.
    """
    return parse_id(resource, device_id)[0]


def by_gpu(resource: Resource, device_ids: Iterable[str]) -> dict[GpuUuid, list[str]]:
    """Device IDs grouped by GPU, in the order of their numbers.

    Raises:
        DeviceIdError: an ID that is not of that resource's form.
    """
    if resource is Resource.WHOLE:
        return {GpuUuid(device_id): [device_id] for device_id in device_ids}
    numbers: dict[GpuUuid, list[int]] = {}
    mark = "-c" if resource is Resource.CORE else "-"
    for device_id in device_ids:
        uuid, number = _numbered(device_id, mark)
        numbers.setdefault(uuid, []).append(number)
    return {uuid: [f"{uuid}{mark}{number}" for number in sorted(found)] for uuid, found in numbers.items()}


@dataclass(frozen=True, slots=True)
class Showing:
    """What the kubelet is told of devices beyond the state of their GPUs.

    Args:
        kept: devices that are shown as healthy whatever their GPU is.
        aligned: GPUs of which the kubelet learns the NUMA node, where it is known.
    """

    kept: Collection[str] = frozenset()
    aligned: Collection[GpuUuid] = frozenset()


PLAIN = Showing()
"""Devices as their GPUs are, and no NUMA nodes."""


def devices_of(resource: Resource, gpus: Gpus, showing: Showing = PLAIN) -> tuple[Device, ...]:
    """Every device of one resource on the node, in NVML's order; one is unhealthy if its GPU is, unless it is kept."""
    return tuple(device for sample in gpus for device in _parts_of(resource, sample, gpus, showing))


def _parts_of(resource: Resource, sample: GpuSample, gpus: Gpus, showing: Showing) -> Iterable[Device]:
    numa_node = sample.numa_node if sample.uuid in showing.aligned else None
    for number in range(devices_on(resource, gpus, sample.uuid)):
        device_id = _id_of(resource, sample.uuid, number)
        yield Device(device_id, sample.healthy or device_id in showing.kept, numa_node)


def _id_of(resource: Resource, uuid: GpuUuid, number: int) -> str:
    if resource is Resource.WHOLE:
        return str(uuid)
    return core_id(uuid, number) if resource is Resource.CORE else unit_id(uuid, number)


def message_bytes(devices: Iterable[Device]) -> int:
    """Upper bound of the size of a ListAndWatch message with these devices.

    Per device: the ID and the health text of at most 9 bytes, each with two bytes of framing, the topology with at most
    16, and four bytes of framing around it all (https://protobuf.dev/programming-guides/encoding/).
    """
    return sum(len(device.id) + 2 + 11 + (0 if device.numa_node is None else 16) + 4 for device in devices)


def check_message(gpus: Gpus) -> None:
    """Check that the list of devices can be sent at all.

    Raises:
        ValueError: it would exceed gRPC's limit, so the kubelet would never see a device; a larger unit helps.
    """
    devices = devices_of(Resource.MEMORY, gpus)
    size = message_bytes(devices)
    if size >= LONGEST_MESSAGE_BYTES:
        raise ValueError(
            f"memory unit of {gpus.unit_mib} MiB gives {len(devices)} devices and a message of {size} bytes, expected "
            f"less than {LONGEST_MESSAGE_BYTES}: choose a larger unit"
        )


def fitting(gpus: Gpus, known: Collection[GpuUuid]) -> Gpus:
    """The GPUs whose list of devices can be sent: those that are `known` already, and of the others those that fit.

    Raises:
        ValueError: not even the known ones do.
    """
    sizes = {sample.uuid: message_bytes(_parts_of(Resource.MEMORY, sample, gpus, PLAIN)) for sample in gpus}
    if sum(sizes.values()) < LONGEST_MESSAGE_BYTES:
        return gpus
    kept = {uuid for uuid in sizes if uuid in known}
    check_message(Gpus(gpus.unit_mib, tuple(sample for sample in gpus if sample.uuid in kept)))
    left = LONGEST_MESSAGE_BYTES - sum(sizes[uuid] for uuid in kept)
    for uuid in [each for each in sizes if each not in kept]:
        if sizes[uuid] < left:
            kept.add(uuid)
            left -= sizes[uuid]
    return Gpus(gpus.unit_mib, tuple(sample for sample in gpus if sample.uuid in kept))


def describe(resource: Resource, amount: int, unit_mib: UnitMib) -> str:
    """An amount of a resource in words: `8 x 1024 MiB`, `30 percent of compute` or `2 GPUs`."""
    if resource is Resource.CORE:
        return f"{amount} percent of compute"
    return f"{amount} x {unit_mib} MiB" if resource is Resource.MEMORY else f"{amount} GPUs"
