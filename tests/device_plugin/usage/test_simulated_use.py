"""The processes in a file of simulated GPUs, and whose they are."""

from pathlib import Path

import pytest

from device_plugin.pods.pod import BoundPod
from device_plugin.sampling.gpu_file import GpuFileError, SimulatedProcess, parse_gpus
from device_plugin.sampling.simulated import SimulatedSource
from device_plugin.usage.measuring import Meter
from device_plugin.usage.simulated_use import SimulatedUse
from tests.device_plugin.builders import pod

GPUS = """
gpus:
  - {model: T4, memory_mib: 15360, uuids: [GPU-x]}
  - model: A10
    memory_mib: 23028
    uuids: [GPU-a, GPU-b]
    outside_mib: 10
    processes:
      - {used_mib: 4096, pod: default/p, container: main, busy: 0.5}
      - {gpu: 1, used_mib: 512}
      - {gpu: 1, used_mib: 100, pod: default/other, container: main}
"""


def test_processes_are_on_their_entrys_gpus() -> None:
    """By position among all GPUs of the file."""
    assert parse_gpus(GPUS, "n1").processes == (
        SimulatedProcess(1, 4096, "default/p", "main", 0.5),
        SimulatedProcess(2, 512),
        SimulatedProcess(2, 100, "default/other", "main"),
    )


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ("text", "is 'text', expected an object"),
        ("{used_mib: 1, name: x}", "expected an object with some of"),
        ("{used_mib: -1}", "used_mib is -1, expected MiB from 0"),
        ("{}", "used_mib is None"),
        ("{used_mib: 1, gpu: 1}", "gpu is 1, expected a position from 0 to 0"),
        ("{used_mib: 1, busy: 2}", "busy is 2, expected a number from 0 to 1"),
        ("{used_mib: 1, pod: default/p}", "pod 'default/p' and container '', expected"),
        ("{used_mib: 1, pod: p, container: main}", "pod 'p' and container 'main', expected"),
    ],
)
def test_wrong_processes_are_refused_by_field(process: str, words: str) -> None:
    """What a person got wrong is named."""
    with pytest.raises(GpuFileError, match=words):
        parse_gpus(f"gpus: [{{model: T4, memory_mib: 1024, processes: [{process}]}}]", "n1")


def test_use_is_measured_as_on_real_gpus(tmp_path: Path) -> None:
    """Of the pod that is there; the rest is outside."""
    file = tmp_path / "gpus.yaml"
    file.write_text(GPUS)
    source = SimulatedSource(file, "n1")
    bound = pod("p")
    pods: dict[str, BoundPod] = {bound.uid: bound}
    use = SimulatedUse(source.use, lambda: pods)
    meter = Meter(source=use, locator=use, pods=lambda: pods, interval_s=1.0)
    found = [(each.key.container, each.gpu, each.used_mib, each.sm_ratio) for each in meter.usage().uses]
    assert found == [("main", "GPU-a", 4096, 0.5)]
    assert meter.newest.outside_mib == {"GPU-x": 0, "GPU-a": 10, "GPU-b": 622}
    assert [reading.used_bytes for reading in meter.newest.readings.values()] == [0, 4106 << 20, 622 << 20]


def test_how_busy_a_mig_device_is_nobody_measures() -> None:
    """As with NVML; its memory and processes are known."""
    text = "gpus: [{model: a, memory_mib: 9000, mig: [1g.5gb, 1g.5gb], processes: [{gpu: 1, used_mib: 7, busy: 0.5}]}]"
    node = parse_gpus(text, "n1")
    found = SimulatedUse(lambda: (node.samples, node.processes), dict).read()
    assert [(each.used_bytes, each.busy_ratio) for each in found] == [(0, None), (7 << 20, None)]
    assert [process.sm_ratio for process in found[1].processes or ()] == [None]
