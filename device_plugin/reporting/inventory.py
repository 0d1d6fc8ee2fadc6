"""Writes the `inventory` annotation of this Node when the GPUs changed enough, or when it is missing."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from device_plugin.gpus.gpu import Gpus
from device_plugin.pods.decoding import NodeNotes, decode_node
from device_plugin.pods.writing import WRITE_ERRORS, Patching, write_when_due
from device_plugin.sampling.feed import GpuFeed
from extender.contract.inventory import Inventory, parse_inventory
from extender.contract.names import Names
from extender.contract.units import ContractError, GpuUuid, UnitMib
from extender.kube.client import node_path
from extender.kube.objects import DecodeError
from extender.kube.retries import Backoff

SHRINK_AFTER_S = 60.0
_MARGIN_PARTS = 8


@dataclass(slots=True)
class OutsideUse:
    """Remembers since when each GPU has been below what was published.

    Args:
        unit_mib: size of a memory unit.
        floor_s: least time between two writes that only change memory in use.
    """

    unit_mib: UnitMib
    floor_s: float = 30.0
    _low_since: dict[GpuUuid, float] = field(default_factory=dict)
    _written_s: float | None = None

    def wanted(
        self, published: Mapping[GpuUuid, int], measured: Mapping[GpuUuid, int], now_s: float
    ) -> dict[GpuUuid, int]:
        """MiB to publish for each GPU; GPUs that are not measured keep what was published."""
        self._low_since = {uuid: since_s for uuid, since_s in self._low_since.items() if uuid in measured}
        return {
            **published,
            **{uuid: self._one(uuid, published.get(uuid), now, now_s) for uuid, now in measured.items()},
        }

    def _one(self, uuid: GpuUuid, published: int | None, now: int, now_s: float) -> int:
        if published is None or self._units(now) > self._units(published):
            self._low_since.pop(uuid, None)
            return now
        if now > self._low_mark(published):
            self._low_since.pop(uuid, None)
            return published
        since_s = self._low_since.setdefault(uuid, now_s)
        return now if now_s - since_s >= SHRINK_AFTER_S else published

    def _units(self, memory_mib: int) -> int:
        return -(-memory_mib // self.unit_mib)

    def _low_mark(self, published: int) -> int:
        """At or below it, clearly one unit fewer is in use; zero always counts as clear."""
        return max(
            0 if published else -1, (self._units(published) - 1) * self.unit_mib - self.unit_mib // _MARGIN_PARTS
        )

    def wait_s(self, now_s: float) -> float:
        """Seconds until a write that only changes memory in use is allowed; 0 when it is."""
        return 0.0 if self._written_s is None else max(0.0, self._written_s + self.floor_s - now_s)

    def next_change_s(self, now_s: float) -> float | None:
        """Seconds until a GPU whose use shrank has been low for long enough; None when there is none."""
        left_s = [since_s + SHRINK_AFTER_S - now_s for since_s in self._low_since.values()]
        return max(0.0, min(left_s)) if left_s else None

    def written(self, now_s: float) -> None:
        """Note that a change of memory in use was written."""
        self._written_s = now_s
        self._low_since.clear()


_LOG = logging.getLogger(__name__)

_PATCH_TIMEOUT_S = 10.0
_LOOK_AGAIN_S = 60.0


def differs_beyond_use(published: Inventory, wanted: Inventory) -> bool:
    """Whether anything but memory used outside of pods differs: health, the GPUs themselves, enforcement, the unit."""
    return _without_use(published) != _without_use(wanted)


def _without_use(inventory: Inventory) -> Inventory:
    return replace(inventory, gpus=tuple(replace(gpu, outside_mib=0) for gpu in inventory.gpus))


class InventoryReporter:
    """Keeps the Node's annotation up to date; it also follows the watch on the Node.

    Args:
        api: where the Node is patched.
        feed: the GPUs.
        node_name: the Node.
        names: of the installation.
        use: decides when a change of memory used outside of pods is written.
        outside_mib: the newest measurement of it, without the GPUs that could not be measured; None takes it from the
            samples.
        is_ready: whether everything that is written is known yet; just after the start the enforcement is not, and
            writing too early would mean writing twice.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        *,
        api: Patching,
        feed: GpuFeed,
        node_name: str,
        names: Names,
        use: OutsideUse,
        outside_mib: Callable[[], Mapping[GpuUuid, int]] | None = None,
        is_ready: Callable[[], bool] = lambda: True,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._is_ready = is_ready
        self._feed = feed
        self._node_name = node_name
        self._names = names
        self._use = use
        self._outside_mib = outside_mib
        self._clock_s = clock_s
        self._backoff = Backoff(first_s=0.25, last_s=30.0)
        self._due = threading.Event()
        self._published: str | None = None
        self._parsed: tuple[str | None, Inventory | None] = (None, None)
        self.problem = "inventory not written yet"

    def take(self, node: NodeNotes) -> None:
        """Take the newest state of the Node."""
        self._published = node.inventory
        self._due.set()

    def gone(self) -> None:
        """Note that the Node is gone: when it comes back, it has no annotation."""
        self._published = None

    def soon(self) -> None:
        """Ask `run` to check whether something has to be written; returns at once."""
        self._due.set()

    def follow_gpus(self, stop: threading.Event) -> None:
        """Ask for a check after every change of the GPUs, until told to stop."""
        version = 0
        while not stop.is_set():
            newest, _ = self._feed.wait_newer(version, 1.0)
            if newest != version:
                version = newest
                self._due.set()

    def run(self, stop: threading.Event) -> None:
        """Write when needed, until told to stop; call `soon` after that to wake it up."""
        # A Node that appears, or a GPU that becomes unhealthy, ends the pause after a failure early.
        write_when_due(self.step, stop, due=self._due, backoff=self._backoff, retries_when_due=True)

    def step(self) -> float | None:
        """Write if needed; the seconds until the next check is due, None when writing failed."""
        gpus = self._feed.gpus
        if gpus is None or not self._is_ready():
            return _LOOK_AGAIN_S
        now_s, published = self._clock_s(), self._known()
        wanted = self._wanted(gpus, published, now_s)
        if published == wanted:
            self.problem = ""
            return min(_LOOK_AGAIN_S, self._use.next_change_s(now_s) or _LOOK_AGAIN_S)
        is_about_use = published is not None and not differs_beyond_use(published, wanted)
        wait_s = self._use.wait_s(now_s) if is_about_use else 0.0
        if wait_s > 0:
            return wait_s
        if not self._write(wanted):
            return None
        if is_about_use:
            self._use.written(now_s)
        return _LOOK_AGAIN_S

    def _known(self) -> Inventory | None:
        """What the annotation says; None when it is missing or cannot be read."""
        text = self._published
        if text is None:
            return None
        if self._parsed[0] != text:
            try:
                self._parsed = (text, parse_inventory(text))
            except ContractError:
                self._parsed = (text, None)
        return self._parsed[1]

    def _wanted(self, gpus: Gpus, published: Inventory | None, now_s: float) -> Inventory:
        """The GPUs as they are, with the memory used outside of pods as it is to be published."""
        same_unit = published is not None and published.unit_mib == gpus.unit_mib
        old = {gpu.uuid: gpu.outside_mib for gpu in published.gpus} if published is not None and same_unit else {}
        measured = {} if self._outside_mib is None else dict(self._outside_mib())
        for sample in gpus:
            if self._outside_mib is None or sample.uuid not in old:
                measured.setdefault(sample.uuid, sample.outside_mib)
        outside_mib = self._use.wanted(old, measured, now_s)
        inventory = gpus.inventory()
        return replace(inventory, gpus=tuple(replace(gpu, outside_mib=outside_mib[gpu.uuid]) for gpu in inventory.gpus))

    def _write(self, wanted: Inventory) -> bool:
        body = {"metadata": {"annotations": {self._names.inventory_annotation: wanted.to_json()}}}
        try:
            answer = self._api.patch(node_path(self._node_name), body, _PATCH_TIMEOUT_S)
            self._published = decode_node(answer, self._names).inventory
        except (*WRITE_ERRORS, DecodeError) as error:
            problem = f"inventory not written: {error}"
            if problem != self.problem:
                _LOG.warning("node %s: %s", self._node_name, problem)
            self.problem = problem
            return False
        self.problem = ""
        _LOG.info("node %s: inventory of %d GPUs written", self._node_name, len(wanted.gpus))
        return True
