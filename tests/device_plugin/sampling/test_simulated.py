"""A YAML file stands for the GPUs of a node, and follows its changes."""

import logging
from pathlib import Path

import pytest

from device_plugin.gpus.gpu import GpuSample
from device_plugin.sampling.gpu_file import GpuFileError, parse_gpus
from device_plugin.sampling.simulated import SimulatedSource
from device_plugin.settings import SettingsError
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid

MIXED = """
gpus:
  - {model: NVIDIA A100-SXM4-80GB, memory_mib: 81920, count: 2, numa_node: 0}
  - {model: Tesla T4, memory_mib: 15360, uuids: [GPU-x, GPU-y], unhealthy: [1], reason: XID 79, outside_mib: 512}
"""


def test_entries_become_gpus() -> None:
    """Named UUIDs are kept, the others are made; the index runs through."""
    first, second, x, y = parse_gpus(MIXED, "n1").samples
    assert (first.index, first.model, first.memory_mib, first.numa_node) == (0, "NVIDIA A100-SXM4-80GB", 81920, 0)
    assert len({first.uuid, second.uuid}) == 2
    assert x == GpuSample(GpuUuid("GPU-x"), 2, "Tesla T4", 15360, outside_mib=512)
    assert y == GpuSample(GpuUuid("GPU-y"), 3, "Tesla T4", 15360, False, "XID 79", None, 512)


def test_made_uuids_depend_on_node_and_place_only() -> None:
    """The same after a restart and after another GPU went away, different on another node."""
    shorter = MIXED.replace("count: 2", "count: 1")
    uuids = [parse_gpus(text, node).samples[0].uuid for text, node in ((MIXED, "n1"), (shorter, "n1"), (MIXED, "n2"))]
    assert (uuids[0] == uuids[1], uuids[0] == uuids[2], len(uuids[0])) == (True, False, 40)


CUT = """
gpus:
  - {model: NVIDIA L4, memory_mib: 23034}
  - model: A100
    memory_mib: 81920
    uuids: [GPU-x, GPU-y]
    mig: [3g.40gb, {profile: 1g.10gb, memory_mib: 9000}]
    unhealthy: [3]
    numa_node: 1
    processes: [{gpu: 2, used_mib: 100}]
  - {model: Tesla T4, memory_mib: 15360}
"""


def test_a_gpu_may_be_cut_into_mig_devices() -> None:
    """They carry its index and positions within the entry; memory comes from the profile, unless it is given."""
    found = parse_gpus(CUT, "n1")
    assert [(each.index, each.model, each.memory_mib, each.healthy) for each in found.samples] == [
        (0, "NVIDIA L4", 23034, True),
        (1, "A100 MIG 3g.40gb", 40448, True),
        (1, "A100 MIG 1g.10gb", 9000, True),
        (2, "A100 MIG 3g.40gb", 40448, True),
        (2, "A100 MIG 1g.10gb", 9000, False),
        (3, "Tesla T4", 15360, True),
    ]
    assert [each.uuid for each in found.samples[1:5]] == ["MIG-x-0", "MIG-x-1", "MIG-y-0", "MIG-y-1"]
    assert found.samples[4].mig == MigDevice(GpuUuid("GPU-y"), 1, gi=2, ci=0, profile="1g.10gb", slices=1, of=7)
    assert ([each.numa_node for each in found.samples], found.processes[0].gpu) == ([None, 1, 1, 1, 1, None], 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpus: [", "not YAML"),
        ("gpus: [{model: a, memory_mib: 9, mig: 1g.10gb}]", r"gpus\[0\].mig is '1g.10gb', expected a list"),
        ("gpus: [{model: a, memory_mib: 9, mig: [1g]}]", r"gpus\[0\].mig is \['1g'\], expected profiles such as"),
        ("gpus: [{model: a, memory_mib: 9, mig: [4g.40gb, 4g.40gb]}]", "of 7 slices"),
        ("gpus: [{model: a, memory_mib: 9, mig: [{size: 1}]}]", r"gpus\[0\].mig\[0\] is {'size': 1}, expected a"),
        ("gpus: [{model: a, memory_mib: 9, mig: [1g.5gb], unhealthy: [1]}]", "expected positions from 0 to 0"),
        ("nodes: []", "gpus is None, expected a list"),
        ("gpus: text", "gpus is 'text', expected a list"),
        ("gpus: [T4]", r"gpus\[0\] is 'T4', expected an object"),
        ("gpus: [{memory_mib: 1}]", r"gpus\[0\].model is None, expected a text"),
        ("gpus: [{model: T4}]", r"gpus\[0\].memory_mib is None, expected an integer"),
        ("gpus: [{model: T4, memory_mib: -1}]", "memoryMib is -1, expected 0 to"),
        ("gpus: [{model: T4, memory_mib: 1, memory: 1}]", r"has \['memory'\], expected only"),
        ("gpus: [{model: T4, memory_mib: 1, count: 9999}]", "count is 9999, expected 0 to 1024"),
        ("gpus: [{model: T4, memory_mib: 1, count: 2, uuids: [GPU-a]}]", "count is 2, expected the number of uuids, 1"),
        ("gpus: [{model: T4, memory_mib: 1, unhealthy: [1]}]", r"unhealthy is \[1\], expected positions from 0 to 0"),
        ("gpus: [{model: T4, memory_mib: 1, uuids: [GPU-a, GPU-a]}]", "one uuid twice"),
        ("gpus: [{model: T4, memory_mib: 1, uuids: GPU-a}]", "uuids is 'GPU-a', expected a list"),
    ],
)
def test_a_wrong_file_is_refused_by_field(text: str, words: str) -> None:
    """What a person got wrong is named."""
    with pytest.raises(GpuFileError, match=words):
        parse_gpus(text, "n1")


def test_a_wrong_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    """Missing or unreadable."""
    with pytest.raises(SettingsError, match="No such file"):
        SimulatedSource(tmp_path / "none.yaml", "n1")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SettingsError, match=r"bad.yaml.*can't decode"):
        SimulatedSource(tmp_path / "bad.yaml", "n1")


def test_a_changed_file_is_followed_and_a_wrong_one_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Health flips, then nonsense is written and reported once, then the GPU is well again."""
    file = tmp_path / "gpus.yaml"
    file.write_text("gpus: [{model: T4, memory_mib: 1024}]")
    source = SimulatedSource(file, "n1")
    seen = [[sample.healthy for sample in source.sample()]]
    texts = ["gpus: [{model: T4, memory_mib: 1024, unhealthy: [0]}]", "nonsense", "gpus: [{model: T4, memory_mib: 1}]"]
    with caplog.at_level(logging.ERROR):
        for text in texts:
            file.with_suffix(".new").write_text(text)
            file.with_suffix(".new").rename(file)
            seen += [[sample.healthy for sample in source.sample()] for _ in range(2)]
    assert seen == [[True], [False], [False], [False], [False], [True], [True]]
    assert [record.message.split(": ")[1] for record in caplog.records] == ["keeping the previous 1 GPUs"]
