"""MIG devices are GPUs: read anew at every sample, as healthy as their GPU, and forgotten when they are destroyed."""

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from bench.simulated.nvml.driver import GPU_IS_LOST, NO_PERMISSION, NOT_SUPPORTED, UNKNOWN, Model, SimulatedDriver
from bench.simulated.nvml.slicing import slice_uuid
from bench.simulated.waiting import wait_until as until
from device_plugin.gpus.gpu import GpuSample
from device_plugin.gpus.mig.slices import DESTROYED, NO_DEVICES, OLD_DRIVER, SEVERAL
from device_plugin.sampling.nvml import CARD_HELD, HELD, NvmlSource
from extender.contract.mig import MigDevice
from extender.contract.units import GpuUuid
from tests.device_plugin.drivers import simulated

A = GpuUuid("GPU-00000000-0000-4000-8000-000000000000")
B = GpuUuid("GPU-00000001-0000-4000-8000-000000000000")
A100 = Model("NVIDIA A100-SXM4-40GB", 40960, 600)


class Pods:
    """The GPUs that pods have, None while they are not known."""

    def __init__(self) -> None:
        self.held: Collection[GpuUuid] | None = ()

    def __call__(self) -> Collection[GpuUuid] | None:
        return self.held


@pytest.fixture
def pods() -> Pods:
    """Nobody has anything."""
    return Pods()


@pytest.fixture
def source(driver: SimulatedDriver, pods: Pods, tmp_path: Path) -> Iterator[NvmlSource]:
    """Two GPUs, of which none is in MIG mode yet."""
    driver.add(A100)
    driver.add(A100)
    found = NvmlSource(sysfs_pci=tmp_path, with_slices=True)
    found.slices.held = pods
    yield found
    found.close()


def gi(number: int, card: GpuUuid = A) -> GpuUuid:
    """The UUID of the MIG device in that GPU instance."""
    return GpuUuid(slice_uuid(card, number, 0))


def state(source: NvmlSource) -> dict[GpuUuid, str]:
    """What is wrong with each GPU that is offered; empty for healthy ones."""
    return {sample.uuid: "" if sample.healthy else sample.reason for sample in source.sample()}


def test_seven_mig_devices_beside_a_gpu(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Each with its own UUID, name, memory and place; in the order of the numbers."""
    driver.slice(0, ["1g.5gb"] * 7)
    name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    slices = [
        GpuSample(
            gi(7 + device),
            0,
            name,
            4864,
            numa_node=0,
            mig=MigDevice(A, device=device, gi=7 + device, ci=0, profile="1g.5gb", slices=1, of=7),
        )
        for device in range(7)
    ]
    whole = GpuSample(B, 1, "NVIDIA A100-SXM4-40GB", 40960 - 600, numa_node=0)
    assert (source.sample(), source.left_out) == ((*slices, whole), {})


def test_devices_of_different_sizes_have_their_part_of_the_gpu(source: NvmlSource, driver: SimulatedDriver) -> None:
    """By slices, of as many as the GPU can have."""
    driver.gpus[1].max_slices = 4
    driver.slice(0, ["4g.20gb", "2g.10gb", "1g.5gb"])
    driver.slice(1, ["2g.12gb", "1g.6gb"])
    found = [(sample.index, sample.memory_mib, sample.mig.share if sample.mig else 1) for sample in source.sample()]
    assert found == [(0, 19968, 4 / 7), (0, 9856, 2 / 7), (0, 4864, 1 / 7), (1, 11904, 2 / 4), (1, 5888, 1 / 4)]


def test_what_is_reserved_is_not_offered(source: NvmlSource, driver: SimulatedDriver) -> None:
    """As on whole GPUs."""
    driver.slice(0, ["1g.5gb"], reserved_mib=100)
    assert source.sample()[0].memory_mib == 4864


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION])
def test_the_size_may_come_from_the_attributes(source: NvmlSource, driver: SimulatedDriver, code: int) -> None:
    """Where the driver does not give the memory of a MIG device."""
    driver.slice(0, ["1g.5gb"])
    for call in ("MEMORY", "MEMORY_V2"):
        driver.fail(0, call, code, device=0)
    first = source.sample()[0]
    assert (first.memory_mib, first.healthy) == (4864, True)


def test_without_monitoring_no_device_is_hidden(source: NvmlSource, driver: SimulatedDriver) -> None:
    """The GPU does not say how much memory all of it has, and need not."""
    driver.state.monitor = 0
    driver.slice(0, ["3g.20gb", "1g.5gb"])
    assert state(source) == {gi(2): "", gi(7): "", B: ""}


def test_gaps_in_the_numbers(source: NvmlSource, driver: SimulatedDriver) -> None:
    """The others keep theirs."""
    driver.slice(0, ["1g.5gb"] * 3)
    driver.destroy(0, 1)
    assert [sample.mig.device for sample in source.sample() if sample.mig] == [0, 2]


def test_mig_mode_without_devices(
    source: NvmlSource, driver: SimulatedDriver, caplog: pytest.LogCaptureFixture
) -> None:
    """The GPU is left out, with what to do."""
    driver.slice(0, [])
    assert (state(source), source.left_out) == ({B: ""}, {"0": NO_DEVICES})
    assert [record.message for record in caplog.records] == [f"GPU with index 0 is left out: {NO_DEVICES}"]


def test_several_compute_instances_are_left_out(
    source: NvmlSource, driver: SimulatedDriver, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of them shows all memory of their GPU instance, which must not be given out twice."""
    driver.slice(0, ["1c.3g.20gb", "2c.3g.20gb", "3g.20gb"])
    assert (state(source), source.left_out) == ({gi(1): "", B: ""}, {"0:0": SEVERAL, "0:1": SEVERAL})
    assert f"MIG device 0:0 is left out: {SEVERAL}" in caplog.text


def test_one_small_compute_instance_is_offered(source: NvmlSource, driver: SimulatedDriver) -> None:
    """It has all memory of its GPU instance; a sibling that does not say where it is may share that."""
    driver.slice(0, ["1c.3g.20gb", "1g.5gb"])
    assert state(source) == {gi(2): "", gi(7): "", B: ""}
    driver.fail(0, "GPU_INSTANCE", UNKNOWN, device=1)
    found = state(source)
    assert [bool(found[uuid]) for uuid in (gi(2), gi(7), B)] == [True, True, False]


def test_older_drivers_name_no_uuids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R450 to R460: the UUID of the GPU and numbers, which are no device IDs."""
    with simulated(tmp_path / "old", monkeypatch, old_driver=True) as driver:
        driver.add(A100)
        driver.slice(0, ["1g.5gb"])
        source = NvmlSource(sysfs_pci=tmp_path, with_slices=True)
        assert (source.sample(), source.left_out) == ((), {"0:0": OLD_DRIVER})
        source.close()


def test_off_leaves_them_to_others(driver: SimulatedDriver, tmp_path: Path) -> None:
    """As long as nobody asks for them."""
    driver.add(A100)
    driver.slice(0, ["1g.5gb"])
    source = NvmlSource(sysfs_pci=tmp_path)
    why = "MIG is enabled on it, and MIG devices are not shared further"
    assert (source.sample(), source.left_out) == ((), {"0": why})
    source.close()


def test_a_gpu_becomes_mig_devices_and_a_gpu_again(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Within one sample, and neither is ever a GPU that is missing."""
    found = [state(source)]
    driver.slice(0, ["3g.20gb"])
    found.append(state(source))
    driver.gpus[0].mig = 0
    found.append(state(source))
    assert found == [{A: "", B: ""}, {gi(2): "", B: ""}, {A: "", B: ""}]


def test_devices_of_a_gpu_that_a_pod_has_whole_are_not_offered(
    source: NvmlSource, driver: SimulatedDriver, pods: Pods
) -> None:
    """Its memory would be given twice; the GPU stays in sight as long as the pod has it."""
    source.sample()
    pods.held = {A}
    driver.slice(0, ["3g.20gb"])
    found = [state(source)]
    driver.gpus[0].mig = 0
    found.append(state(source))
    driver.slice(0, ["3g.20gb"])
    pods.held = ()
    found.append(state(source))
    assert found == [{A: HELD, gi(2): CARD_HELD, B: ""}, {A: "", B: ""}, {gi(2): "", B: ""}]


def test_the_same_uuid_comes_back_with_another_size(source: NvmlSource, driver: SimulatedDriver) -> None:
    """So nothing is remembered of it."""
    driver.slice(0, ["1g.5gb"])
    before = source.sample()[0]
    driver.slice(0, ["1g.10gb"])
    after = source.sample()[0]
    assert [(each.uuid, each.memory_mib, each.model[-7:]) for each in (before, after)] == [
        (gi(7), 4864, " 1g.5gb"),
        (gi(7), 9984, "1g.10gb"),
    ]


@pytest.mark.parametrize("held", [(gi(8),), None])
def test_a_destroyed_device_is_unhealthy_while_a_pod_has_it(
    source: NvmlSource, driver: SimulatedDriver, pods: Pods, held: Collection[GpuUuid] | None
) -> None:
    """Or while it is not known whether one has; others are forgotten."""
    driver.slice(0, ["1g.5gb"] * 2)
    source.sample()
    pods.held = held
    driver.slice(0, ["3g.20gb"])
    assert state(source)[gi(8)] == DESTROYED
    pods.held = ()
    assert state(source) == {gi(2): "", B: ""}
    pods.held = held
    assert state(source) == {gi(2): "", B: ""}


def test_a_destroyed_device_that_comes_back_is_healthy(source: NvmlSource, driver: SimulatedDriver, pods: Pods) -> None:
    """Also when MIG mode was off meanwhile."""
    driver.slice(0, ["1g.5gb"])
    source.sample()
    pods.held = (gi(7),)
    driver.gpus[0].mig = 0
    assert state(source) == {A: "", gi(7): DESTROYED, B: ""}
    driver.slice(0, ["1g.5gb"])
    assert state(source) == {gi(7): "", B: ""}


@pytest.mark.parametrize("call", ["UUID", "NAME", "SLICE_HANDLE", "GPU_INSTANCE", "COMPUTE_INSTANCE", "ATTRIBUTES"])
def test_a_device_that_does_not_answer_is_unhealthy_alone(
    source: NvmlSource, driver: SimulatedDriver, call: str
) -> None:
    """Its neighbour and the other GPU are well; it was not destroyed, and is back when it answers."""
    driver.slice(0, ["3g.20gb", "1g.5gb"])
    source.sample()
    driver.fail(0, call, UNKNOWN, device=1)
    found = state(source)
    assert {uuid: bool(why) for uuid, why in found.items()} == {gi(2): False, gi(7): True, B: False}
    assert found[gi(7)].startswith("NVML: ")
    driver.fail(0, call, 0, device=1)
    assert state(source) == {gi(2): "", gi(7): "", B: ""}


@pytest.mark.parametrize("call", ["NAME", "ATTRIBUTES", "MEMORY_V2"])
def test_a_device_that_never_answered_is_left_out(source: NvmlSource, driver: SimulatedDriver, call: str) -> None:
    """With the error as the reason."""
    driver.slice(0, ["3g.20gb", "1g.5gb"])
    driver.fail(0, call, UNKNOWN, device=1)
    assert (state(source), source.left_out) == ({gi(2): "", B: ""}, {"0:1": "NVML: Unknown Error"})


@pytest.mark.parametrize(
    ("call", "code"), [("MIG", UNKNOWN), ("MAX_SLICES", UNKNOWN), ("ROWS", UNKNOWN), ("FIELDS", 17)]
)
def test_a_gpu_that_does_not_answer_takes_its_devices_along(
    source: NvmlSource, driver: SimulatedDriver, call: str, code: int
) -> None:
    """Unknown is not healthy; the other GPU is well."""
    driver.slice(0, ["3g.20gb", "1g.5gb"])
    source.sample()
    driver.fail(0, call, code)
    assert {uuid: bool(why) for uuid, why in state(source).items()} == {gi(2): True, gi(7): True, B: False}
    driver.fail(0, call, 0)
    assert state(source) == {gi(2): "", gi(7): "", B: ""}


def test_a_gpu_that_never_said_its_devices_is_left_out(source: NvmlSource, driver: SimulatedDriver) -> None:
    """It is not told to have none."""
    driver.slice(0, ["3g.20gb"])
    driver.fail(0, "MAX_SLICES", UNKNOWN)
    assert (state(source), source.left_out) == ({B: ""}, {"0": "its MIG devices are not known: Unknown Error"})


def test_what_is_wrong_with_the_gpu_is_wrong_with_its_devices(source: NvmlSource, driver: SimulatedDriver) -> None:
    """A reset that is due, rows that cannot be replaced."""
    driver.slice(0, ["3g.20gb", "1g.5gb"])
    driver.gpus[0].recovery_action = 1
    why = "the driver asks for a recovery action"
    assert state(source) == {gi(2): why, gi(7): why, B: ""}
    driver.gpus[0].rows[3] = 1
    assert [found[:20] for found in state(source).values()] == ["row remapping failed"] * 2 + [""]


@pytest.mark.parametrize("how", ["lost", "removed"])
def test_a_gpu_that_is_gone_takes_its_devices_along(source: NvmlSource, driver: SimulatedDriver, how: str) -> None:
    """They were not destroyed: whoever has them is on a GPU that is ill."""
    driver.slice(0, ["3g.20gb", "1g.5gb"])
    source.sample()
    if how == "lost":
        driver.gpus[0].lost = GPU_IS_LOST
    else:
        driver.remove(0)
    found = state(source)
    assert {uuid: bool(why) for uuid, why in found.items()} == {gi(2): True, gi(7): True, B: False}
    assert DESTROYED not in found.values()


def test_a_uuid_that_two_devices_have_is_that_of_neither(source: NvmlSource, driver: SimulatedDriver) -> None:
    """Their neighbour is well, and so is a GPU whose UUID is its own."""
    driver.slice(0, ["1g.5gb"] * 3)
    driver.gpus[0].slices[1].uuid = driver.gpus[0].slices[0].uuid
    assert state(source) == {gi(9): "", B: ""}
    driver.slice(1, ["1g.5gb"])
    driver.gpus[1].slices[0].uuid = driver.gpus[0].slices[2].uuid
    assert state(source)[gi(9)] == f"more than one GPU has the UUID {gi(9)}"


def raise_xid(driver: SimulatedDriver, source: NvmlSource, place: tuple[int, ...]) -> None:
    """Let the first GPU report XID 94 of some instance, once it is registered, and wait until that is known."""
    until(lambda: not source.unwatched)
    driver.raise_xid(94, 0, **dict(zip(("gi", "ci"), place, strict=False)))
    until(lambda: bool(source.critical_xids))


@pytest.mark.parametrize(
    ("place", "ill"), [((7, 0), [gi(7)]), ((7,), [gi(7)]), ((), [gi(2), gi(7)]), ((7, 1), []), ((8,), [])]
)
def test_an_xid_hits_the_devices_that_it_names(
    source: NvmlSource, driver: SimulatedDriver, place: tuple[int, ...], ill: list[GpuUuid]
) -> None:
    """By both IDs, by that of the GPU instance alone, or all of the GPU's when it names none."""
    driver.slice(0, ["3g.20gb", "1g.5gb"])
    source.sample()
    raise_xid(driver, source, place)
    assert [uuid for uuid, why in state(source).items() if why == "XID 94"] == ill
    assert source.critical_xids == dict.fromkeys(ill or [A], 1)
    assert source.xid_counts == dict.fromkeys([(uuid, 94) for uuid in (ill if place and ill else [A])], 1)


def test_the_xids_of_a_gpu_in_mig_mode_are_watched(source: NvmlSource, driver: SimulatedDriver) -> None:
    """They are registered for the GPU, since MIG devices have none of their own."""
    driver.slice(0, ["3g.20gb", "1g.5gb"])
    driver.fail(0, "EVENTS", UNKNOWN)
    source.sample()
    until(lambda: source.unwatched.get(A) == "Unknown Error")
    assert list(source.unwatched) == [A]
