"""Measures the use of simulated GPUs: the processes and the memory outside of pods that their file names."""

from collections.abc import Callable, Iterable, Mapping

from device_plugin.gpus.gpu import GpuSample
from device_plugin.gpus.readings import GpuFacts, GpuProcess, GpuReading
from device_plugin.pods.pod import BoundPod
from device_plugin.sampling.gpu_file import SimulatedProcess
from device_plugin.usage.accounting.processes import ProcessOwner

_MIB = 1024 * 1024


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
        """What the file's processes and the memory used outside of pods add up to; PIDs count from 1."""
        samples, named = self._gpus()
        outside = [
            SimulatedProcess(place, sample.outside_mib) for place, sample in enumerate(samples) if sample.outside_mib
        ]
        self._processes = (*named, *outside)
        return tuple(_reading(sample, place, self._processes) for place, sample in enumerate(samples))

    def facts(self) -> tuple[GpuFacts, ...]:
        """No permanent facts are known."""
        return ()

    def close(self) -> None:
        """Nothing is held open."""

    def obstacle(self) -> str:
        """Every process can be looked up."""
        return ""

    def locate(self, pids: Iterable[int]) -> Mapping[int, ProcessOwner]:
        """The owner of each process, as the file says."""
        uids = {pod.path: pod.uid for pod in (self._pods() or {}).values()}
        processes = {pid: self._processes[pid - 1] for pid in pids}
        # A pod that does not exist counts as outside of pods, under a UID of its own.
        return {
            pid: ProcessOwner(pod_uid=uids.get(process.pod, process.pod), container=process.container)
            for pid, process in processes.items()
        }


def _reading(sample: GpuSample, place: int, processes: tuple[SimulatedProcess, ...]) -> GpuReading:
    own = [(pid, process) for pid, process in enumerate(processes, start=1) if process.gpu == place]
    # NVML does not measure how busy a MIG device is.
    is_measured = sample.mig is None
    return GpuReading(
        uuid=sample.uuid,
        used_bytes=sum(process.used_mib for _, process in own) * _MIB,
        reserved_bytes=0,
        busy_ratio=min(1.0, sum(process.busy for _, process in own)) if is_measured else None,
        processes=tuple(
            GpuProcess(pid, process.used_mib * _MIB, process.busy if is_measured else None) for pid, process in own
        ),
    )
