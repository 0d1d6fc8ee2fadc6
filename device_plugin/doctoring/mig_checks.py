"""Looks at GPUs in MIG mode and judges whether their MIG devices can be offered, and as what."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from device_plugin.doctoring.facts import MigFacts, NodeFacts
from device_plugin.gpus.gpu import GpuSourceStalledError
from device_plugin.gpus.mig.slices import NO_DEVICES, SlicedGpu, SliceRecord
from device_plugin.sampling.bounded import BoundedCalls
from device_plugin.sampling.mig import list_slices
from device_plugin.sampling.nvml_asking import ask, identify, memory_size
from device_plugin.settings import MigStrategy
from extender.contract.findings import Finding, Level
from extender.contract.units import UNIT_CHOICES_MIB

_OFFER = (
    "offer its MIG devices with --mig=slices (the component mig), leave it to a device plugin for MIG, or turn MIG off "
    "with `nvidia-smi -mig 0`"
)
_MAKE = "make each GPU instance with one compute instance of its size: `nvidia-smi mig -cgi PROFILE -C`, or mig-parted"
_MONITOR = "install the component mig, which sets NVIDIA_MIG_MONITOR_DEVICES=all and adds SYS_ADMIN"


def gather_mig(load_pynvml: Callable[[], Any], timeout_s: float) -> tuple[MigFacts, ...]:
    """The GPUs in MIG mode, or about to change it; none where NVML cannot be asked, which others report."""
    calls = BoundedCalls("doctor-mig", timeout_s)
    try:
        return calls.call(lambda: _ask(load_pynvml()))
    except (GpuSourceStalledError, ImportError):
        return ()
    finally:
        calls.leave()


def _ask(nvml: Any) -> tuple[MigFacts, ...]:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        count: int = ask(nvml, (), nvml.nvmlDeviceGetCount).value or 0
        return tuple(found for index in range(count) if (found := _look(nvml, index)) is not None)
    finally:
        nvml.nvmlShutdown()


def _look(nvml: Any, index: int) -> MigFacts | None:
    seen = identify(nvml, index)
    modes: Any = None if seen.uuid is None else ask(nvml, (), nvml.nvmlDeviceGetMigMode, seen.handle).value
    if seen.uuid is None or modes is None or not any(modes):
        return None
    is_on, will_be_on = (mode == nvml.NVML_DEVICE_MIG_ENABLE for mode in modes)
    if not is_on:
        return MigFacts(seen.uuid, is_on=False, will_be_on=will_be_on)
    offered = SliceRecord().take(SlicedGpu(seen.uuid, index), list_slices(nvml, seen.handle))
    return MigFacts(
        seen.uuid,
        is_on=True,
        will_be_on=will_be_on,
        is_monitored=memory_size(nvml, seen.handle).value is not None,
        sizes_mib={sample.uuid: sample.memory_mib for sample in offered.samples},
        left_out=offered.left_out,
    )


def shared_gpus(gpus: Mapping[str, str], mig: tuple[MigFacts, ...]) -> dict[str, str]:
    """The GPUs and what keeps each from being shared, when MIG devices are GPUs."""
    found = dict(gpus)
    for each in mig:
        if each.is_on:
            found.pop(each.uuid, None)
            found |= dict.fromkeys(each.sizes_mib, "") or {each.uuid: next(iter(each.left_out.values()), NO_DEVICES)}
    return found


def check_mig(facts: NodeFacts) -> Iterator[Finding]:
    """Whether MIG mode is what it will be, and MIG devices can be offered; nothing where there are none."""
    for each in facts.mig:
        if each.is_on != each.will_be_on:
            state = "on" if each.will_be_on else "off"
            advice = "reset it when nothing uses it (`nvidia-smi --gpu-reset -i UUID`), or reboot the node"
            yield Finding(
                "mig", Level.WARNING, f"GPU {each.uuid}: MIG mode is turned {state} at its next reset", advice
            )
    on = [each for each in facts.mig if each.is_on]
    if not on:
        return
    if facts.mig_strategy != MigStrategy.SLICES.value:
        for each in on:
            yield Finding("mig", Level.WARNING, f"GPU {each.uuid} is not shared: MIG is enabled", _OFFER)
        return
    sizes = [size for each in on for size in each.sizes_mib.values()]
    yield Finding("mig", Level.OK, f"{len(sizes)} MIG devices of {len(on)} GPUs are offered")
    for each in on:
        for place, why in each.left_out.items():
            what = "MIG device" if ":" in place else "GPU"
            yield Finding("mig", Level.WARNING, f"{what} {place} is left out: {why}", _MAKE)
    if not all(each.is_monitored for each in on):
        yield Finding("mig", Level.NOTE, "events of single MIG devices may be missing", _MONITOR)
    lost, least = (sum(size % unit for size in sizes) for unit in (facts.memory_unit_mib, min(UNIT_CHOICES_MIB)))
    if lost > least:
        advice = f"--memory-unit-mib {min(UNIT_CHOICES_MIB)} would offer {lost - least} MiB of them"
        yield Finding(
            "mig", Level.NOTE, f"{lost} MiB of MIG devices are in no unit of {facts.memory_unit_mib} MiB", advice
        )
