"""A node whose driver answers anything at any time, and what may then be believed of its GPUs."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from bench.simulated.nvml.driver import GPU_IS_LOST, SOURCE, UNKNOWN, Model, SimulatedDriver
from bench.simulated.nvml.state import MAX_GPUS
from bench.simulated.waiting import wait_until
from device_plugin.gpus.probation import Probation
from device_plugin.gpus.standing import ADVISORY_ONLY, Standing
from device_plugin.gpus.xids import QUIET_S
from device_plugin.sampling.feed import GpuFeed
from device_plugin.sampling.nvml import NvmlSource, load_pynvml
from device_plugin.sampling.nvml_reading import NvmlReader
from device_plugin.sampling.supervising import SupervisedSource
from device_plugin.usage.accounting.processes import ProcessOwner
from device_plugin.usage.accounting.unseen import MEASUREMENTS
from device_plugin.usage.measuring import Meter
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid

CALLS = tuple(re.findall(r"X\((\w+)\)", SOURCE.read_text().partition("#define CALLS(X)")[2].partition("#define")[0]))
SYSTEM_CALLS = ("INIT", "COUNT", "VERSION", "EVENT_SET", "WAIT")
PROFILES = ((), ("1g.10gb",), ("3g.20gb", "1g.10gb", "1g.10gb"), ("1c.2g.10gb", "1c.2g.10gb", "1g.5gb"))
CODES = (*range(1, 31), UNKNOWN)
NO_SUCH_QUESTION = {3, 13, 25, 26}
NO_ANSWER = NO_SUCH_QUESTION | {2, 4, 21, 22}
PROBATION_S = 30.0
MIB = 1 << 20
TWIN = GpuUuid("GPU-twin")

VALUES: tuple[tuple[str, Any], ...] = (
    ("uuid", b""),
    ("uuid", b"GPU-\xff\xfe"),
    ("uuid", b"G" * 90),
    ("uuid", TWIN.encode()),
    ("name", b""),
    ("name", b"\xc3\x28"),
    ("bus_id", b"\xff" * 20),
    ("bus_id", b"../../.."),
    ("total_bytes", 0),
    ("total_bytes", (1 << 64) - 1),
    ("total_bytes", 1 << 20),
    ("reserved_bytes", (1 << 64) - 1),
    ("reserved_bytes", 0),
    ("used_bytes", 20 << 30),
    ("used_bytes", (1 << 64) - 1),
    ("numa_node", (1 << 31) - 1),
    ("numa_node", -7),
    ("minor_number", -1),
    ("mig", 1),
    ("mig", 0),
    ("mig", -1),
    ("temperature", -(1 << 31)),
    ("gpu_percent", -1),
    ("power_mw", (1 << 32) - 1),
    ("retired_pages", 1000),
    ("corrected", (1 << 64) - 1),
    ("recovery_action", 1),
    ("recovery_action", 99),
    ("capability", (-1, -1)),
    ("nvlinks", 18),
    ("rows", (0, 0, 0, 1)),
    ("rows", (4_000_000_000, 1, 1, 0)),
)

_PLACES = st.integers(0, 3)
_HEALTH = st.sampled_from(("UUID", "MIG", "MEMORY_V2", "ROWS", "FIELDS"))
_SILENCE = st.sampled_from((0, 3, 13, 25, UNKNOWN))
_ILLS = st.sampled_from((("rows", (1, 1, 1, 1)), ("recovery_action", 2), ("mig", 1), ("used_bytes", 20 << 30)))
STEPS = st.one_of(
    # What matters most is tried most.
    st.tuples(st.just("fail"), _PLACES, _HEALTH, st.sampled_from(CODES)),
    st.tuples(st.just("set"), _PLACES, _ILLS),
    st.tuples(st.just("hush"), _PLACES, _SILENCE),
    st.tuples(st.just("fail"), _PLACES, st.sampled_from(CALLS), st.sampled_from(CODES)),
    st.tuples(st.just("answer"), _PLACES, st.sampled_from(CALLS)),
    st.tuples(st.just("lose"), _PLACES, st.sampled_from(CODES)),
    st.tuples(st.just("nvml"), st.sampled_from(SYSTEM_CALLS), st.sampled_from((0, *CODES))),
    st.tuples(st.just("slice"), _PLACES, st.sampled_from(PROFILES)),
    st.tuples(st.just("fail slice"), _PLACES, _PLACES, st.sampled_from(CALLS), st.sampled_from((0, *CODES))),
    st.tuples(st.just("destroy"), _PLACES, _PLACES),
    st.tuples(st.just("set"), _PLACES, st.sampled_from(VALUES)),
    st.tuples(st.just("run"), _PLACES, st.integers(1, 6), st.sampled_from((None, 0, 5000, 1 << 43))),
    st.tuples(st.just("heal"), _PLACES),
    st.tuples(st.just("add")),
    st.tuples(st.just("remove"), _PLACES),
    st.tuples(st.just("xid"), st.integers(0, 5), st.sampled_from((13, 31, 48, 79, 94, 154)), st.booleans()),
    st.tuples(st.just("pass"), st.sampled_from((1.0, PROBATION_S, QUIET_S))),
)
"""What happens to a driver; a place is an index, counted around."""


@dataclass(slots=True)
class Seconds:
    """A clock that only steps move."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Advisory:
    """Nothing is enforced anywhere."""

    def standings(self, uuids: Iterable[GpuUuid]) -> Mapping[GpuUuid, Standing]:
        return dict.fromkeys(uuids, ADVISORY_ONLY)


class Host:
    """Processes with an odd PID are in another PID namespace, the others are the machine's own."""

    def obstacle(self) -> str:
        return ""

    def locate(self, pids: Iterable[int]) -> Mapping[int, ProcessOwner]:
        return {pid: ProcessOwner() for pid in pids if pid % 2 == 0}


@dataclass(slots=True)
class Slot:
    """A GPU that is there: the UUID that it was made with, and all that it ever said."""

    born: GpuUuid
    said: set[GpuUuid] = field(default_factory=set)


class Node:
    """The plugin's chain from NVML to the GPUs that are offered, over a driver that steps change."""

    def __init__(self, driver: SimulatedDriver) -> None:
        self.driver = driver
        self.clock = Seconds()
        self.slots: list[Slot] = []
        self.source = NvmlSource(clock_s=self.clock, sysfs_pci=driver.folder, with_slices=True)
        supervised = SupervisedSource(self.source, Advisory(), Probation(PROBATION_S), self.clock)
        self.feed = GpuFeed(supervised, DEFAULT_UNIT_MIB, 1.0)
        self.source.slices.held = self._held
        self.reader = NvmlReader(load_pynvml, with_slices=True)
        self.meter = Meter(source=self.reader, locator=Host(), pods=dict, interval_s=5.0, clock_s=self.clock)
        self._made = 0

    def _held(self) -> set[GpuUuid]:
        """Pods have all MIG devices, so that those that are destroyed stay in sight, and no whole GPUs."""
        return {each.uuid for each in self.feed.gpus or () if each.mig is not None}

    def close(self) -> None:
        """End its threads and sessions."""
        self.source.close()
        self.reader.close()

    @property
    def offered(self) -> set[GpuUuid]:
        """The GPUs that pods may get."""
        return {sample.uuid for sample in self.feed.gpus or () if sample.healthy}

    def look(self) -> None:
        """Sample once, and measure as often as it takes until what is in use is known."""
        self.feed.step()
        for _ in range(MEASUREMENTS):
            self.meter.step()

    def take(self, step: tuple[Any, ...]) -> None:
        """Let a step happen; one on a GPU happens to none where there is none."""
        name, *arguments = step
        everywhere: dict[str, Callable[..., None]] = {
            "nvml": lambda call, code: self.driver.fail(None, call, code),
            "add": self.add,
            "pass": self.wait,
        }
        of_gpu: dict[str, Callable[..., None]] = {
            "fail": self.driver.fail,
            "hush": self._hush,
            "answer": lambda index, call: self.driver.fail(index, call, 0),
            "lose": lambda index, code: setattr(self.driver.gpus[index], "lost", code),
            "set": self._set,
            "run": lambda index, pid, used_mib: self.driver.gpus[index].run(pid, used_mib),
            "heal": self.heal,
            "remove": self._remove,
            "slice": self._slice,
            "fail slice": self._fail_slice,
            "destroy": self._destroy,
            "xid": self._raise_xid,
        }
        if name in everywhere:
            everywhere[name](*arguments)
        elif self.slots:
            place, *rest = arguments
            of_gpu[name](place % len(self.slots), *rest)

    def wait(self, length_s: float) -> None:
        """Time passes."""
        self.clock.now_s += length_s

    def add(self) -> None:
        """A GPU appears, unless there are four, or no room for one more."""
        if len(self.slots) == 4 or self._made == MAX_GPUS:
            return
        self._made += 1
        born = GpuUuid(f"GPU-{self._made:08x}")
        self.driver.add(Model()).uuid = born.encode()
        self.slots.append(Slot(born, {born}))

    def heal(self, index: int) -> None:
        """A GPU is as it was when it was new, but for what runs on it."""
        gpu = self.driver.gpus[index]
        for call in CALLS:
            self.driver.fail(index, call, 0)
        gpu.lost, gpu.mig, gpu.recovery_action, gpu.rows[:] = 0, 0, 0, [0, 0, 0, 0]
        for device in range(len(gpu.slices)):
            self.driver.destroy(index, device)
        gpu.uuid, gpu.name = self.slots[index].born.encode(), b"NVIDIA A10"
        gpu.total_bytes, gpu.reserved_bytes = 23028 * MIB, 500 * MIB

    def heal_all(self) -> None:
        """The driver and all GPUs."""
        for call in SYSTEM_CALLS:
            self.driver.fail(None, call, 0)
        for index in range(len(self.slots)):
            self.heal(index)

    def _hush(self, index: int, code: int) -> None:
        """A GPU says nothing more of what may be wrong with it."""
        for call in ("MIG", "ROWS", "FIELDS"):
            self.driver.fail(index, call, code)

    def _set(self, index: int, change: tuple[str, Any]) -> None:
        name, value = change
        gpu = self.driver.gpus[index]
        if isinstance(value, tuple):
            getattr(gpu, name)[:] = value
        else:
            setattr(gpu, name, value)
        if (name, value) == ("uuid", TWIN.encode()):
            self.slots[index].said.add(TWIN)

    def _remove(self, index: int) -> None:
        self.driver.remove(index)
        del self.slots[index]

    def _slice(self, index: int, profiles: tuple[str, ...]) -> None:
        gpu = self.driver.gpus[index]
        said = gpu.uuid, gpu.name
        # The names of MIG devices are made of those that the GPU was born with, whatever it says now.
        gpu.uuid, gpu.name = self.slots[index].born.encode(), b"NVIDIA A10"
        self.driver.slice(index, profiles)
        gpu.uuid, gpu.name = said

    def _fail_slice(self, index: int, place: int, call: str, code: int) -> None:
        present = [device for device, each in enumerate(self.driver.gpus[index].slices) if each.present]
        if present:
            self.driver.fail(index, call, code, device=present[place % len(present)])

    def _destroy(self, index: int, place: int) -> None:
        present = [device for device, each in enumerate(self.driver.gpus[index].slices) if each.present]
        if present:
            self.driver.destroy(index, present[place % len(present)])

    def _raise_xid(self, index: int, xid: int, does_fall: bool) -> None:  # noqa: FBT001 - part of a step
        """An XID of a GPU that is listened to; it is seen before the next look, and is nobody else's.

        `does_fall` says whether the GPU falls off the bus just before, so that it can't say whose it is.
        """
        own = self.slots[index].said
        known = own & {sample.uuid for sample in self.feed.gpus or ()}
        if any(self.driver.state.codes) or self.feed.problem or not known or own & self.source.unwatched.keys():
            return
        before = self.source.xid_counts
        if does_fall:
            self.driver.gpus[index].lost = GPU_IS_LOST
        self.driver.raise_xid(xid, index)
        with suppress(TimeoutError):
            wait_until(lambda: self.source.xid_counts != before, timeout_s=10.0)
        assert {uuid for uuid, _ in dict(self.source.xid_counts.items() - before.items())} <= own
