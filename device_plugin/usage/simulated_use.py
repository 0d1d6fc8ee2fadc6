"""From a YAML file that describes simulated GPUs to who uses their memory, for machines without a GPU.

Each entry of the file's `gpus` (see `device_plugin.gpus.simulated`) may have

    processes:
      - {gpu: 1, used_mib: 4096, pod: default/p, container: main, busy: 0.5}
      - {used_mib: 512}              # in no pod

`gpu` is the position within the entry, 0 when left out; `pod` and `container` come together or not at all; `busy` is
the share of the multiprocessor time, 0 to 1. The entry's `outside_mib` is one more process that is in no pod.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from device_plugin.gpus.gpu import GpuSample
from device_plugin.gpus.readings import GpuFacts, GpuProcess, GpuReading
from device_plugin.pods.pod import BoundPod
from device_plugin.usage.processes import Owner

_KNOWN = {"gpu", "used_mib", "pod", "container", "busy"}
_MIB = 1024 * 1024


class UseError(ValueError):
    """Processes are not of the form above; the message names the field."""


@dataclass(frozen=True, slots=True)
class SimulatedProcess:
    """A process on one GPU; `pod` is `namespace/name`, and empty, as the container's name, for one in no pod."""

    gpu: int
    used_mib: int
    pod: str = ""
    container: str = ""
    busy: float = 0.0


def parse_processes(values: Iterable[Any], count: int, where: str) -> list[SimulatedProcess]:
    """The processes of one entry with so many GPUs.

    Raises:
        UseError: not of the form above.
    """
    return [_parse(value, count, f"{where}.processes[{place}]") for place, value in enumerate(values)]


def _parse(value: Any, count: int, where: str) -> SimulatedProcess:
    if not isinstance(value, Mapping) or set(value) - _KNOWN:
        raise UseError(f"{where} is {value!r}, expected an object with some of {sorted(_KNOWN)}")
    gpu, used_mib, busy = value.get("gpu", 0), value.get("used_mib"), value.get("busy", 0.0)
    pod, container = value.get("pod", ""), value.get("container", "")
    if type(gpu) is not int or not 0 <= gpu < count:
        raise UseError(f"{where}.gpu is {gpu!r}, expected a position from 0 to {count - 1}")
    if type(used_mib) is not int or used_mib < 0:
        raise UseError(f"{where}.used_mib is {used_mib!r}, expected MiB from 0")
    if type(busy) not in (int, float) or not 0 <= busy <= 1:
        raise UseError(f"{where}.busy is {busy!r}, expected a number from 0 to 1")
    is_pair = isinstance(pod, str) and isinstance(container, str) and bool(pod) == bool(container)
    if not is_pair or (pod and pod.count("/") != 1):
        raise UseError(f"{where} has pod {pod!r} and container {container!r}, expected namespace/name and a name")
    return SimulatedProcess(gpu, used_mib, pod, container, float(busy))


class SimulatedUse:
    """A `ReadingSource` and a `Locator` over simulated GPUs.

    Args:
        gpus: the newest GPUs, and the processes with their `gpu` as a position among them.
        pods: the node's pods by UID, None while they are not known.
    """

    def __init__(
        self,
        gpus: Callable[[], tuple[tuple[GpuSample, ...], tuple[SimulatedProcess, ...]]],
        pods: Callable[[], Mapping[str, BoundPod] | None],
    ) -> None:
        self._gpus = gpus
        self._pods = pods
        self._processes: tuple[SimulatedProcess, ...] = ()

    def read(self) -> tuple[GpuReading, ...]:
        """What the processes of the file and the memory in use outside add up to; their PIDs count from 1."""
        samples, named = self._gpus()
        outside = [
            SimulatedProcess(place, sample.outside_mib) for place, sample in enumerate(samples) if sample.outside_mib
        ]
        self._processes = (*named, *outside)
        return tuple(_reading(sample, place, self._processes) for place, sample in enumerate(samples))

    def facts(self) -> tuple[GpuFacts, ...]:
        """Nothing is known for good."""
        return ()

    def close(self) -> None:
        """Nothing is held open."""

    def obstacle(self) -> str:
        """Every process can be told from another."""
        return ""

    def locate(self, pids: Iterable[int]) -> Mapping[int, Owner]:
        """Where the file says that they belong."""
        uids = {pod.path: pod.uid for pod in (self._pods() or {}).values()}
        processes = {pid: self._processes[pid - 1] for pid in pids}
        # A pod that is not there is another's for the plugin, whatever its UID.
        return {
            pid: Owner(pod_uid=uids.get(process.pod, process.pod), container=process.container)
            for pid, process in processes.items()
        }


def _reading(sample: GpuSample, place: int, processes: tuple[SimulatedProcess, ...]) -> GpuReading:
    own = [(pid, process) for pid, process in enumerate(processes, start=1) if process.gpu == place]
    return GpuReading(
        uuid=sample.uuid,
        used_bytes=sum(process.used_mib for _, process in own) * _MIB,
        reserved_bytes=0,
        busy_ratio=min(1.0, sum(process.busy for _, process in own)),
        processes=tuple(GpuProcess(pid, process.used_mib * _MIB, process.busy) for pid, process in own),
    )
