"""From the GPUs to the `inventory` annotation of this Node: written when it changed enough or when it is not there."""

import logging
import random
import threading
from collections.abc import Iterable
from dataclasses import replace

from extender.contract.inventory import Inventory, parse_inventory
from extender.contract.names import Names
from extender.contract.units import ContractError

from .backoff import Backoff
from .decoding import DecodingError, decode_node
from .kubeapi import ApiError, Patching, node_path
from .sampling import GpuFeed

_LOG = logging.getLogger(__name__)

_PATCH_TIMEOUT_S = 10.0
_LOOK_AGAIN_S = 60.0
SMALL_CHANGE_MIB = 64
"""Memory in use outside of pods wobbles; less than this is not written at once, but at the next regular look."""


def differs_enough(published: str | None, wanted: Inventory) -> bool:
    """Whether the annotation must be written now; memory in use outside of pods may lag behind a little."""
    if published is None:
        return True
    try:
        old = parse_inventory(published)
    except ContractError:
        return True
    if old.unit_mib != wanted.unit_mib or len(old.gpus) != len(wanted.gpus):
        return True
    for before, now in zip(old.gpus, wanted.gpus, strict=True):
        if abs(before.outside_mib - now.outside_mib) >= SMALL_CHANGE_MIB:
            return True
        if replace(before, outside_mib=0) != replace(now, outside_mib=0):
            return True
    return False


class InventoryReporter:
    """Keeps the Node's annotation true; it is also the handler of the watch on the Node."""

    def __init__(self, *, api: Patching, feed: GpuFeed, node_name: str, names: Names) -> None:
        self._api = api
        self._feed = feed
        self._node_name = node_name
        self._names = names
        self._backoff = Backoff(first_s=0.5, last_s=30.0)
        self._due = threading.Event()
        self._published: str | None = None
        self.problem = "inventory not written yet"

    def replace(self, items: Iterable[bytes]) -> None:
        """Take the list of nodes: this one, or none."""
        self._published = None
        for body in items:
            self._take(body)
        self._due.set()

    def apply(self, kind: str, body: bytes) -> None:
        """Take an event of the Node; a deleted one comes back without the annotation."""
        if kind == "DELETED":
            self._published = None
        else:
            self._take(body)
            self._due.set()

    def _take(self, body: bytes) -> None:
        try:
            node = decode_node(body, self._names)
        except DecodingError as error:
            _LOG.warning("node %s: %s", self._node_name, error)
            return
        if node.name == self._node_name:
            self._published = node.inventory

    def soon(self) -> None:
        """Look whether something is to be written; returns at once."""
        self._due.set()

    def follow_gpus(self, stop: threading.Event) -> None:
        """Ask for a look after every change of the GPUs, until told to stop."""
        version = 0
        while not stop.is_set():
            newest, _ = self._feed.wait_newer(version, 1.0)
            if newest != version:
                version = newest
                self._due.set()

    def run(self, stop: threading.Event) -> None:
        """Write when needed, until told to stop (and then asked once more to wake up)."""
        failures, exact = 0, False
        while not stop.is_set():
            self._due.clear()
            if self._step(exact=exact):
                failures = 0
                exact = not self._due.wait(_LOOK_AGAIN_S)
            else:
                failures += 1
                # Not blind: a Node that appears ends the wait.
                self._due.wait(self._backoff.delay_s(failures, random.random()))  # noqa: S311 - spreads retries

    def _step(self, *, exact: bool) -> bool:
        """Write if needed; False when that failed."""
        gpus = self._feed.gpus
        if gpus is None:
            return True
        wanted = gpus.inventory()
        text = wanted.to_json()
        if text == self._published or not (exact or differs_enough(self._published, wanted)):
            self.problem = ""
            return True
        body = {"metadata": {"annotations": {self._names.inventory_annotation: text}}}
        try:
            answer = self._api.patch(node_path(self._node_name), body, _PATCH_TIMEOUT_S)
            self._published = decode_node(answer, self._names).inventory
        except (ApiError, DecodingError) as error:
            problem = f"inventory not written: {error}"
            if problem != self.problem:
                _LOG.warning("node %s: %s", self._node_name, problem)
            self.problem = problem
            return False
        self.problem = ""
        _LOG.info("node %s: inventory of %d GPUs written", self._node_name, len(wanted.gpus))
        return True
