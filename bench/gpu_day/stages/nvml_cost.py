"""Times the plugin's own look at the GPU on this driver: what a sample and a measurement cost, in time and CPU."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from bench.gpu_day.day import Day, SkipError
from bench.latency.percentiles import Delays, delays
from device_plugin.gpus.gpu import GpuSourceError
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader

_ROUNDS = 40


@dataclass(frozen=True, slots=True)
class NvmlCost:
    """What `rounds` looks cost, each a sample (which GPUs are there and healthy) and a reading (what they do).

    `first_s` is the very first look, which also starts NVML. `cpu_s` is this process's CPU time for a round; others
    may make it wait, which the delays contain. `problem` is why the GPU would not be offered; empty when it would.
    """

    first_s: float
    rounds: int
    sample: Delays
    read: Delays
    cpu_s: float
    problem: str


def nvml_cost(day: Day) -> Generator[NvmlCost, None, None]:
    """What a look costs, GPU idle.

    Raises:
        SkipError: NVML cannot start.
    """
    source, reader = NvmlSource(), NvmlReader(load_pynvml)
    try:
        began_s = time.perf_counter()
        samples = source.sample()
        reader.read()
        first_s = time.perf_counter() - began_s
        sampled_s: list[float] = []
        read_s: list[float] = []
        cpu_s = time.process_time()
        while len(read_s) < _ROUNDS and (day.timer.left_s > 0 or not read_s):
            sampled_s.append(_timed(source.sample))
            read_s.append(_timed(reader.read))
        cpu_s = time.process_time() - cpu_s
        problems = [sample.reason for sample in samples if sample.uuid == day.gpu.uuid]
        yield NvmlCost(
            first_s=first_s,
            rounds=len(read_s),
            sample=delays(sampled_s),
            read=delays(read_s),
            cpu_s=cpu_s / len(read_s),
            problem=problems[0] if problems else "; ".join(source.left_out.values()) or "it is not among the samples",
        )
    except GpuSourceError as error:
        raise SkipError(str(error)) from error
    finally:
        source.close()
        reader.close()


def _timed(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s
