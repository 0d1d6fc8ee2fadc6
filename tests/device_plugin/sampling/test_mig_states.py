"""Whatever a driver answers about MIG devices, none is offered that cannot be trusted, and no memory twice."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.simulated.nvml.driver import Model, SimulatedDriver
from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.gpus.plausible import LARGEST_BYTES
from device_plugin.sampling.mig import list_slices
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from extender.contract.units import GpuUuid
from tests.device_plugin.builders import UNIT_MIB
from tests.device_plugin.drivers import simulated

A = GpuUuid("GPU-00000000-0000-4000-8000-000000000000")
B = GpuUuid("GPU-00000001-0000-4000-8000-000000000000")
NEEDED = ("UUID", "NAME", "GPU_INSTANCE", "COMPUTE_INSTANCE", "SLICE_HANDLE")
"""What a MIG device must answer to be offered."""
OF_THE_GPU = ("MIG", "MAX_SLICES", "UUID", "HANDLE", "ROWS", "FIELDS", "SLICE_HANDLE")
"""What its GPU must answer."""
TROUBLE = (999, 15, 28, 11, 10, 17, 1)
"""Codes that no working GPU answers these questions with."""

FIELDS = ("gpu_instance", "compute_instance", "gpu_slices", "compute_slices", "total_bytes", "uuid")
NUMBERS = (0, 1, 2, 3, 7, 1 << 31, (1 << 32) - 1)
DEVICES, CODES = st.integers(0, 3), st.sampled_from(TROUBLE)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What is wrong with a GPU of four MIG devices.

    Args:
        failures: calls on MIG devices that fail, with device and code.
        of_the_gpu: calls on the GPU that fail.
        values: what MIG devices say of themselves, by device and field.
        is_known: whether they were offered before.
        monitor: whether one may see all of them together.
    """

    failures: list[tuple[int, str, int]]
    of_the_gpu: list[tuple[str, int]]
    values: list[tuple[int, str, int]]
    is_known: bool
    monitor: bool


DISTURBANCES = st.builds(
    Disturbance,
    st.lists(st.tuples(DEVICES, st.sampled_from(NEEDED), CODES), max_size=3),
    st.lists(st.tuples(st.sampled_from(OF_THE_GPU), CODES), max_size=1),
    st.lists(st.tuples(DEVICES, st.sampled_from(FIELDS), st.sampled_from(NUMBERS)), max_size=4),
    st.booleans(),
    st.booleans(),
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedDriver]:
    """A GPU in MIG mode, and another one; one driver for all examples."""
    with pytest.MonkeyPatch.context() as patch, simulated(tmp_path_factory.mktemp("n") / "nvml", patch) as found:
        found.add(Model("NVIDIA A100-SXM4-40GB", 40960, 600))
        found.add(Model())
        yield found


def cut(driver: SimulatedDriver) -> None:
    """Four MIG devices, of a GPU that answers everything."""
    for target in [driver.state.gpus[0], *driver.state.gpus[0].slices]:
        for call in range(len(target.codes)):
            target.codes[call] = 0
    driver.slice(0, ["2g.10gb", "2g.10gb", "1g.5gb", "1g.5gb"])


def disturb(driver: SimulatedDriver, wrong: Disturbance) -> None:
    """Let all that be so."""
    for device, name, value in wrong.values:
        part = driver.gpus[0].slices[device]
        setattr(part, name, f"MIG-{value}".encode() if name == "uuid" else value)
    for device, call, code in wrong.failures:
        driver.fail(0, call, code, device=device)
    for call, code in wrong.of_the_gpu:
        driver.fail(0, call, code)


def trusted(sample: GpuSample, driver: SimulatedDriver) -> bool:
    """Whether what the driver says of a MIG device can be true."""
    assert sample.mig is not None
    part = driver.gpus[0].slices[sample.mig.device]
    return bool(
        part.uuid.decode() == sample.uuid and 0 < part.total_bytes <= LARGEST_BYTES and 1 <= part.gpu_slices <= 7
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DISTURBANCES)
def test_only_what_can_be_trusted_is_offered_and_once(
    driver: SimulatedDriver, tmp_path: Path, wrong: Disturbance
) -> None:
    """Both before and after it was offered once; the other GPU is never concerned."""
    cut(driver)
    driver.state.monitor = wrong.monitor
    source = NvmlSource(sysfs_pci=tmp_path, with_slices=True)
    try:
        if wrong.is_known:
            source.sample()
        disturb(driver, wrong)
        found = source.sample()
    finally:
        source.close()
    assert len(Gpus(UNIT_MIB, found).samples) == len(found)
    assert [sample.healthy for sample in found if sample.uuid == B] == [True]
    offered = [sample for sample in found if sample.healthy and sample.uuid != B]
    assert not (wrong.of_the_gpu and offered)
    instances = Counter(sample.mig.gi for sample in offered if sample.mig)
    assert all(trusted(sample, driver) for sample in offered)
    assert all(count == 1 for count in instances.values())
    ill = {device for device, _, _ in wrong.failures}
    assert not ill & {sample.mig.device for sample in offered if sample.mig}
    parts = Counter(part.gpu_instance for part in driver.gpus[0].slices if part.present)
    assert all(parts[sample.mig.gi] == 1 for sample in offered if sample.mig)


def test_the_listing_is_that_of_a_driver_that_answers(driver: SimulatedDriver) -> None:
    """So that the examples above begin with four MIG devices that are well."""
    cut(driver)
    nvml = load_pynvml()
    nvml.nvmlInit()
    found = list_slices(nvml, nvml.nvmlDeviceGetHandleByIndex(0))
    nvml.nvmlShutdown()
    assert ([each.problem for each in found.slices], found.hidden) == ([""] * 4, "")
