"""Containers get the device nodes of their own GPUs from the kubelet, as far as the node has them."""

from pathlib import Path
from types import MappingProxyType

import pytest

from bench.simulated.nvml.driver import Model, SimulatedDriver
from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.gpus.readings import GpuFacts
from device_plugin.kubelet.device_nodes import DeviceNodes
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB, gpus, sample

A, B = GpuUuid("GPU-a"), GpuUuid("GPU-b")
SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A node's /dev with three GPUs and what they share."""
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia3", *SHARED):
        (folder / name).touch()
    return folder


def nodes(dev: Path, **minors: int | None) -> DeviceNodes:
    """`nodes(dev, a=0)`: NVML says that GPU-a is /dev/nvidia0."""
    facts = {GpuUuid(f"GPU-{name}"): GpuFacts(GpuUuid(f"GPU-{name}"), minor_number=at) for name, at in minors.items()}
    return DeviceNodes(lambda: MappingProxyType(facts), dev, dev.parent / "capabilities")


def shared(*own: str) -> tuple[str, ...]:
    """Paths of a container's own nodes, and of those that all GPUs share."""
    return tuple(f"/dev/{name}" for name in (*own, *SHARED))


def test_a_container_gets_the_nodes_of_its_gpus_and_those_that_all_share(dev: Path) -> None:
    """By the minor number, which is not the index; /dev/nvidia-modeset is not there and so not named."""
    found = nodes(dev, a=3, b=0)
    assert found.of([A], gpus(a=16, b=16)) == shared("nvidia3")
    assert found.of([A, B], gpus(a=16, b=16)) == shared("nvidia3", "nvidia0")


def test_a_node_that_is_missing_is_not_named(dev: Path) -> None:
    """The container would not start."""
    (dev / "nvidia-uvm-tools").unlink()
    assert nodes(dev, a=7, b=1).of([A, B], gpus(a=16, b=16)) == ("/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm")
    assert nodes(dev, a=7).of([A], gpus(a=16)) == ()


def test_gpus_without_a_known_minor_number_have_no_nodes(dev: Path) -> None:
    """Simulated ones, and those of which NVML does not say it."""
    assert nodes(dev, a=None).of([A], gpus(a=16)) == ()
    assert nodes(dev).of([A], gpus(a=16)) == ()
    assert nodes(dev, a=0).of([A], gpus(b=16)) == ()


def test_minor_numbers_of_the_driver_have_gaps(driver: SimulatedDriver, dev: Path) -> None:
    """The third GPU is /dev/nvidia3."""
    for _ in range(3):
        driver.add(Model())
    source, reader = NvmlSource(), NvmlReader(load_pynvml)
    try:
        reader.read()
        of = Gpus(UNIT_MIB, source.sample())
        found = DeviceNodes(lambda: {facts.uuid: facts for facts in reader.facts()}, dev)
        assert [found.of([gpu.uuid], of)[0] for gpu in of] == ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia3"]
    finally:
        reader.close()
        source.close()


def mig(uuid: str, parent: GpuUuid, gi: int) -> GpuSample:
    """A MIG device of a GPU."""
    place = MigDevice(parent, device=0, gi=gi, ci=0, profile="1g.10gb", slices=1, of=7)
    return GpuSample(GpuUuid(uuid), 0, "A100 MIG 1g.10gb", 9728, mig=place)


def test_a_mig_device_has_its_gpus_node_and_those_of_its_instances(dev: Path) -> None:
    """The driver says which capabilities those are; without its word there is the GPU's node alone."""
    (dev / "nvidia-caps").mkdir()
    for number in (66, 67, 75):
        (dev / "nvidia-caps" / f"nvidia-cap{number}").touch()
    place = dev.parent / "capabilities" / "gpu3" / "mig" / "gi7"
    (place / "ci0").mkdir(parents=True)
    (place / "access").write_text("DeviceFileMinor: 66\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
    (place / "ci0" / "access").write_text("DeviceFileMinor: 67\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
    of = Gpus(UNIT_MIB, (mig("MIG-1", A, 7), mig("MIG-2", A, 8), sample("GPU-b", index=1)))
    found = nodes(dev, a=3)
    assert found.of([GpuUuid("MIG-1")], of) == shared("nvidia3", "nvidia-caps/nvidia-cap66", "nvidia-caps/nvidia-cap67")
    assert found.of([GpuUuid("MIG-2")], of) == shared("nvidia3")


@pytest.mark.parametrize("text", ["", "DeviceFileMinor:", "DeviceFileMinor: many", "DeviceFileMode: 1", "\xff"])
def test_a_file_of_the_driver_that_says_nothing_costs_no_start(dev: Path, text: str) -> None:
    """The NVIDIA runtime gives the nodes all the same."""
    place = dev.parent / "capabilities" / "gpu0" / "mig" / "gi7"
    place.mkdir(parents=True)
    (place / "access").write_text(text, encoding="latin-1")
    assert nodes(dev, a=0).of([GpuUuid("MIG-1")], Gpus(UNIT_MIB, (mig("MIG-1", A, 7),))) == shared("nvidia0")
