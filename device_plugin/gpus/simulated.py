"""From a YAML file that describes simulated GPUs to samples, for machines without a GPU.

    gpus:
      - model: NVIDIA A100-SXM4-80GB   # product name as NVML gives it
        memory_mib: 81920
        count: 4                       # equal GPUs; 1, or the number of uuids, when left out
        numa_node: 0                   # left out: unknown
      - model: Tesla T4
        memory_mib: 15360
        uuids: [GPU-11111111-2222-3333-4444-555555555555]
        unhealthy: [0]                 # positions within this entry
        reason: XID 79                 # why, for people
        outside_mib: 512               # memory in use by what is not a pod, on each GPU of the entry

An entry may also have `processes` that use its GPUs: see `device_plugin.usage.simulated_use`.
GPUs without `uuids` get one made from the node's name, the entry and the position within it, so it stays the same when
the file changes. The file is read again whenever it changes: health, memory in use and the list itself follow.
A file that is wrong at the start is an error; one that becomes wrong later is logged and what was last good stays.
Write a changed file beside the old one and rename it, so that no half of it is ever read.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from device_plugin.gpus.gpu import GpuSample
from device_plugin.settings import SettingsError
from device_plugin.usage.simulated_use import SimulatedProcess, UseError, parse_processes
from extender.contract.units import ContractError, GpuUuid

_LOG = logging.getLogger(__name__)
_KNOWN = {"model", "memory_mib", "count", "numa_node", "uuids", "unhealthy", "reason", "outside_mib", "processes"}
_MOST_GPUS = 1024


class GpuFileError(ValueError):
    """A file of simulated GPUs is not of the form above; the message names the entry and the field."""


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """What a file describes: GPUs, and processes with their `gpu` as a position among all of them."""

    samples: tuple[GpuSample, ...] = ()
    processes: tuple[SimulatedProcess, ...] = ()


def parse_gpus(text: str, node_name: str) -> SimulatedNode:
    """The GPUs that a file describes, and who uses them.

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
        found = _parse_entry(entry, number, len(samples), node_name)
        processes += _parse_use(entry, number, len(samples), len(found))
        samples += found
    if len({sample.uuid for sample in samples}) != len(samples):
        raise GpuFileError("gpus names one uuid twice, expected each once")
    return SimulatedNode(tuple(samples), tuple(processes))


def _parse_use(entry: Mapping[str, Any], number: int, first: int, count: int) -> list[SimulatedProcess]:
    where = f"gpus[{number}]"
    try:
        found = parse_processes(_list(entry, "processes", where), count, where)
    except UseError as error:
        raise GpuFileError(str(error)) from error
    return [replace(process, gpu=first + process.gpu) for process in found]


def _parse_entry(entry: Any, number: int, first: int, node_name: str) -> list[GpuSample]:
    where = f"gpus[{number}]"
    if not isinstance(entry, Mapping):
        raise GpuFileError(f"{where} is {entry!r}, expected an object")
    unknown = set(entry) - _KNOWN
    if unknown:
        raise GpuFileError(f"{where} has {sorted(map(str, unknown))}, expected only {sorted(_KNOWN)}")
    model = _text(entry, "model", where)
    uuids = _list(entry, "uuids", where)
    count = _integer(entry, "count", where, len(uuids) or 1)
    if not 0 <= count <= _MOST_GPUS or (uuids and len(uuids) != count):
        expected = f"the number of uuids, {len(uuids)}" if uuids else f"0 to {_MOST_GPUS}"
        raise GpuFileError(f"{where}.count is {count}, expected {expected}")
    unhealthy = _list(entry, "unhealthy", where)
    if any(position not in range(count) for position in unhealthy):
        raise GpuFileError(f"{where}.unhealthy is {unhealthy!r}, expected positions from 0 to {count - 1}")
    reason = _text(entry, "reason", where, "marked unhealthy in the file of simulated GPUs")
    memory_mib = _integer(entry, "memory_mib", where)
    numa_node = None if entry.get("numa_node") is None else _integer(entry, "numa_node", where)
    outside_mib = _integer(entry, "outside_mib", where, 0)
    try:
        return [
            GpuSample(
                uuid=GpuUuid(str(uuids[position]) if uuids else _made_uuid(node_name, number, position)),
                index=first + position,
                model=model,
                memory_mib=memory_mib,
                healthy=position not in unhealthy,
                reason=reason if position in unhealthy else "",
                numa_node=numa_node,
                outside_mib=outside_mib,
            )
            for position in range(count)
        ]
    except ContractError as error:
        raise GpuFileError(f"{where}: {error}") from error


def _made_uuid(node_name: str, entry: int, position: int) -> str:
    return f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{position}.{entry}.{node_name}.gpus.gpupack.io')}"


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


class SimulatedSource:
    """A `GpuSource` that follows a file.

    Raises:
        SettingsError: the file is missing or wrong at the start.
    """

    def __init__(self, path: Path, node_name: str) -> None:
        self._path = path
        self._node_name = node_name
        self._stamp = _stamp(path)
        try:
            self._node = self._read()
        except (OSError, UnicodeDecodeError, GpuFileError) as error:
            raise SettingsError(f"gpus {str(path)!r}: {error}") from error

    def sample(self) -> tuple[GpuSample, ...]:
        """What the file says, or said when it was last good."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._node = self._read()
            except (OSError, UnicodeDecodeError, GpuFileError) as error:
                _LOG.error("%s: keeping the %d GPUs of before: %s", self._path, len(self._node.samples), error)
        return self._node.samples

    def close(self) -> None:
        """Nothing is held open."""

    def use(self) -> tuple[tuple[GpuSample, ...], tuple[SimulatedProcess, ...]]:
        """The GPUs as last read, and who uses them."""
        node = self._node
        return node.samples, node.processes

    def _read(self) -> SimulatedNode:
        return parse_gpus(self._path.read_text(encoding="utf-8"), self._node_name)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes whenever a file is written or replaced; None while it cannot be seen."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size
