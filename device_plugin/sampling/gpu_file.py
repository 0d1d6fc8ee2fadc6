"""Parses the YAML file that describes simulated GPUs and the processes on them.

    gpus:
      - model: NVIDIA A100-SXM4-80GB   # product name as NVML gives it
        memory_mib: 81920
        count: 4                       # equal GPUs; default 1, or the number of uuids
        numa_node: 0                   # default: unknown
      - model: Tesla T4
        memory_mib: 15360
        uuids: [GPU-11111111-2222-3333-4444-555555555555]
        unhealthy: [0]                 # positions within this entry
        reason: XID 79                 # why, for people
        outside_mib: 512               # memory used outside of pods, on each GPU of the entry
        processes:
          - {gpu: 0, used_mib: 4096, pod: default/p, container: main, busy: 0.5}
          - {used_mib: 512}            # in no pod
      - model: NVIDIA A100-SXM4-80GB
        memory_mib: 81920
        mig: [3g.40gb, 1g.10gb, {profile: 1g.10gb, memory_mib: 9728}]  # MIG devices, with about the memory of an A100's

GPUs without `uuids` get one made from the node's name, the entry and the position within it, so it stays the same when
the file changes; those of MIG devices are made from that of their GPU. In an entry with `mig`, positions are those of
its MIG devices, and the other fields are about each of them. Of a process, `gpu` is the position within the entry
(default 0), `pod` and `container` come together or not at all, and `busy` is the share of the multiprocessor time, 0 to
1. `outside_mib` is one more process in no pod.
Write a changed file next to the old one and rename it, so that no half of it is ever read.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from device_plugin.gpus.gpu import GpuSample
from device_plugin.gpus.mig.profiles import parse_split
from extender.contract.mig import MIG_PREFIX, SLICES_OF_A_GPU, MigDevice, MigProfile
from extender.contract.units import ContractError, GpuUuid

_KNOWN_OF_ENTRY = {
    "model",
    "memory_mib",
    "count",
    "numa_node",
    "uuids",
    "unhealthy",
    "reason",
    "outside_mib",
    "processes",
    "mig",
}
_KNOWN_OF_SLICE = {"profile", "memory_mib"}
_KNOWN_OF_PROCESS = {"gpu", "used_mib", "pod", "container", "busy"}
_MOST_GPUS = 1024


class GpuFileError(ValueError):
    """A file of simulated GPUs is not of the form above; the message names the entry and the field."""


@dataclass(frozen=True, slots=True)
class SimulatedProcess:
    """A process on one GPU; `pod` is `namespace/name`; pod and container are empty for a process in no pod."""

    gpu: int
    used_mib: int
    pod: str = ""
    container: str = ""
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class GpuFile:
    """What a file describes: GPUs, and processes with their `gpu` as a position among all of them."""

    samples: tuple[GpuSample, ...] = ()
    processes: tuple[SimulatedProcess, ...] = ()


def parse_gpus(text: str, node_name: str) -> GpuFile:
    """The GPUs and processes that a file describes.

    Raises:
        GpuFileError: not of the form above; the message names the entry and the field.
    """
    try:
        body = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise GpuFileError(f"not YAML: {error}") from error
    entries = body.get("gpus") if isinstance(body, Mapping) else None
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise GpuFileError(f"gpus is {entries!r}, expected a list of entries with model and memory_mib")
    samples: list[GpuSample] = []
    processes: list[SimulatedProcess] = []
    for number, entry in enumerate(entries):
        index = samples[-1].index + 1 if samples else 0
        found = _parse_entry(entry, number, index, node_name)
        processes += _parse_processes(entry, number, len(samples), len(found))
        samples += found
    if len({sample.uuid for sample in samples}) != len(samples):
        raise GpuFileError("gpus names one uuid twice, expected each once")
    return GpuFile(tuple(samples), tuple(processes))


def _parse_processes(entry: Mapping[str, Any], number: int, first: int, count: int) -> list[SimulatedProcess]:
    """The processes of one entry with `count` GPUs, of which the first is at position `first` among all."""
    where = f"gpus[{number}]"
    found = [
        _parse_process(value, count, f"{where}.processes[{place}]")
        for place, value in enumerate(_list(entry, "processes", where))
    ]
    return [replace(process, gpu=first + process.gpu) for process in found]


def _parse_process(value: Any, count: int, where: str) -> SimulatedProcess:
    if not isinstance(value, Mapping) or set(value) - _KNOWN_OF_PROCESS:
        raise GpuFileError(f"{where} is {value!r}, expected an object with some of {sorted(_KNOWN_OF_PROCESS)}")
    gpu, used_mib, busy = value.get("gpu", 0), value.get("used_mib"), value.get("busy", 0.0)
    pod, container = value.get("pod", ""), value.get("container", "")
    if type(gpu) is not int or not 0 <= gpu < count:
        raise GpuFileError(f"{where}.gpu is {gpu!r}, expected a position from 0 to {count - 1}")
    if type(used_mib) is not int or used_mib < 0:
        raise GpuFileError(f"{where}.used_mib is {used_mib!r}, expected MiB from 0")
    if type(busy) not in (int, float) or not 0 <= busy <= 1:
        raise GpuFileError(f"{where}.busy is {busy!r}, expected a number from 0 to 1")
    is_pair = isinstance(pod, str) and isinstance(container, str) and bool(pod) == bool(container)
    if not is_pair or (pod and pod.count("/") != 1):
        raise GpuFileError(f"{where} has pod {pod!r} and container {container!r}, expected namespace/name and a name")
    return SimulatedProcess(gpu, used_mib, pod, container, float(busy))


def _parse_entry(entry: Any, number: int, first: int, node_name: str) -> list[GpuSample]:
    where = f"gpus[{number}]"
    if not isinstance(entry, Mapping):
        raise GpuFileError(f"{where} is {entry!r}, expected an object")
    unknown = set(entry) - _KNOWN_OF_ENTRY
    if unknown:
        raise GpuFileError(f"{where} has {sorted(map(str, unknown))}, expected only {sorted(_KNOWN_OF_ENTRY)}")
    model = _text(entry, "model", where)
    uuids = _list(entry, "uuids", where)
    count = _integer(entry, "count", where, len(uuids) or 1)
    if not 0 <= count <= _MOST_GPUS or (uuids and len(uuids) != count):
        expected = f"the number of uuids, {len(uuids)}" if uuids else f"0 to {_MOST_GPUS}"
        raise GpuFileError(f"{where}.count is {count}, expected {expected}")
    cards = [GpuUuid(str(uuid)) for uuid in uuids] or [_made_uuid(node_name, number, place) for place in range(count)]
    try:
        sizes = _parse_slices(entry, where)
        found = [
            sample
            for position, uuid in enumerate(cards)
            for sample in _cut(GpuSample(uuid, first + position, model, _integer(entry, "memory_mib", where)), sizes)
        ]
        return _in_state(entry, where, found)
    except ContractError as error:
        raise GpuFileError(f"{where}: {error}") from error


def _parse_slices(entry: Mapping[str, Any], where: str) -> list[tuple[MigProfile, int]]:
    """The MIG devices of each GPU of an entry: profile and memory in MiB."""
    values = [{"profile": each} if isinstance(each, str) else each for each in _list(entry, "mig", where)]
    for place, value in enumerate(values):
        if not isinstance(value, Mapping) or set(value) - _KNOWN_OF_SLICE:
            raise GpuFileError(f"{where}.mig[{place}] is {value!r}, expected a profile, or one with memory_mib")
    try:
        profiles = parse_split(str(value.get("profile")) for value in values)
    except ValueError as error:
        raise GpuFileError(f"{where}.{error}") from error
    return [
        (profile, _integer(value, "memory_mib", f"{where}.mig[{place}]", profile.memory_mib))
        for place, (profile, value) in enumerate(zip(profiles, values, strict=True))
    ]


def _cut(card: GpuSample, sizes: Sequence[tuple[MigProfile, int]]) -> list[GpuSample]:
    """The MIG devices of a GPU; itself if it has none."""
    if not sizes:
        return [card]
    return [
        replace(
            card,
            uuid=GpuUuid(f"{MIG_PREFIX}{card.uuid.removeprefix('GPU-')}-{device}"),
            model=f"{card.model} MIG {profile.name}",
            memory_mib=memory_mib,
            mig=MigDevice(
                parent=card.uuid,
                device=device,
                gi=device + 1,
                ci=0,
                profile=profile.name,
                slices=profile.gpu_slices,
                of=SLICES_OF_A_GPU,
            ),
        )
        for device, (profile, memory_mib) in enumerate(sizes)
    ]


def _in_state(entry: Mapping[str, Any], where: str, found: Sequence[GpuSample]) -> list[GpuSample]:
    """The GPUs of an entry with what it says of their state."""
    unhealthy = _list(entry, "unhealthy", where)
    if any(position not in range(len(found)) for position in unhealthy):
        raise GpuFileError(f"{where}.unhealthy is {unhealthy!r}, expected positions from 0 to {len(found) - 1}")
    reason = _text(entry, "reason", where, "marked unhealthy in the file of simulated GPUs")
    numa_node = None if entry.get("numa_node") is None else _integer(entry, "numa_node", where)
    outside_mib = _integer(entry, "outside_mib", where, 0)
    return [
        replace(
            sample,
            healthy=position not in unhealthy,
            reason=reason if position in unhealthy else "",
            numa_node=numa_node,
            outside_mib=outside_mib,
        )
        for position, sample in enumerate(found)
    ]


def _made_uuid(node_name: str, entry: int, position: int) -> GpuUuid:
    return GpuUuid(f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{position}.{entry}.{node_name}.gpus.gpupack.io')}")


def _integer(entry: Mapping[str, Any], key: str, where: str, default: int | None = None) -> int:
    value = entry.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise GpuFileError(f"{where}.{key} is {value!r}, expected an integer")
    return value


def _text(entry: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = entry.get(key, default)
    if not isinstance(value, str) or not value:
        raise GpuFileError(f"{where}.{key} is {value!r}, expected a text")
    return value


def _list(entry: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = entry.get(key, [])
    if not isinstance(value, list):
        raise GpuFileError(f"{where}.{key} is {value!r}, expected a list")
    return value
