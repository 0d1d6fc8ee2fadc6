"""Lets pods come and go so that the cluster is nearly full, by a seed."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.simulated.client import ClusterClient, FailureStatusError, UnreachableError
from bench.simulated.kubelet.pod_lifecycle import RUN_ANNOTATION
from bench.simulated.pod_demand import pod_demand
from bench.simulated.specs import gpu_pod
from bench.simulated.starting import Startable
from extender.contract.names import Names
from tests.chaos.world.following import PodStory

NAMES = Names()
IMPORTANT = "important"
_STEP_S = 0.1
_MOST_NEW = 4
_SIZES = (2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 12, 16)
_SPREAD_SIZES = (14, 18, 20, 24)
"""Over two GPUs; no other pod has such a size, for the kubelet names none, and a device plugin can mistake one for
another that is admitted at the same moment."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How much comes and goes.

    Args:
        units: memory units of the cluster, all GPUs of `gpu_units` together.
        gpu_units: units of one GPU.
        fill: demand that is kept up, as a share of the cluster.
        life_s: how long a pod runs on average.
        important: share of the pods that may preempt others.
        again: share of the new pods that take a name which an earlier pod had.
    """

    units: int
    gpu_units: int = 16
    fill: float = 1.15
    life_s: float = 1.5
    important: float = 0.06
    again: float = 0.3


class Load(Startable):
    """Creates, ends and deletes pods from a thread of its own until it is stopped; may be started again.

    Args:
        client: how to reach the API server, past every fault.
        settings: how much.
        seed: of what comes and goes.
        stories: what is known of the pods.
    """

    def __init__(
        self, client: ClusterClient, settings: LoadSettings, seed: int, stories: Callable[[], list[PodStory]]
    ) -> None:
        self._client = client
        self._settings = settings
        self._draws = random.Random(seed)
        self._stories = stories
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._number = 0
        self._free_names: list[str] = []
        self.created: dict[str, str] = {}
        """Names of all pods that were made, by UID."""
        self.deleted: set[str] = set()
        """UIDs of those that were deleted here."""

    def start(self) -> None:
        """Begin."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let nothing come or go any more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(60)
            self._thread = None

    def delete_bound(self) -> None:
        """Delete every pod that has a node, and those that are done."""
        for story in self._stories():
            if story.bound_s is not None and story.gone_s is None:
                self._delete(story)

    def _run(self) -> None:
        while not self._ended.wait(_STEP_S):
            try:
                self._step()
            except (FailureStatusError, UnreachableError):
                # Its API server may be down by order of the test; the next step goes on from what is there.
                continue

    def _step(self) -> None:
        stories = [story for story in self._stories() if story.gone_s is None]
        demand = 0
        for story in stories:
            if story.is_done:
                self._delete(story)
                continue
            demand += self._units_of(story)
            if story.bound_s is None:
                if self._draws.random() < 0.01:
                    self._delete(story)
            elif story.is_running and self._draws.random() < _STEP_S / self._settings.life_s:
                self._end(story)
        for _ in range(_MOST_NEW):
            if demand >= self._settings.fill * self._settings.units:
                break
            demand += self._create()

    def _create(self) -> int:
        body, units = self._body()
        pod = self._client.create_pod(body)
        self.created[pod["metadata"]["uid"]] = pod["metadata"]["name"]
        return units

    def _body(self) -> tuple[dict[str, Any], int]:
        gpu_units = self._settings.gpu_units
        spec: dict[str, Any] = {"terminationGracePeriodSeconds": 1}
        kind = self._draws.random()
        if kind < 0.06:
            # Neither victim nor preemptor: the device plugin keeps a GPU closed for seconds to memory, or as a whole,
            # when the pod that it was given to ends before the kubelet shows it.
            spec |= {"priorityClassName": IMPORTANT, "preemptionPolicy": "Never"}
            return gpu_pod(self._name(), {NAMES.gpu_resource: 1}, **spec), gpu_units
        if self._draws.random() < self._settings.important:
            spec["priorityClassName"] = IMPORTANT
        if kind < 0.12:
            annotations = {NAMES.count_annotation: "2"}
            units = self._draws.choice(_SPREAD_SIZES)
            return gpu_pod(self._name(), {NAMES.memory_resource: units}, annotations=annotations, **spec), units
        units = self._draws.choice(_SIZES)
        return gpu_pod(self._name(), {NAMES.memory_resource: units}, **spec), units

    def _name(self) -> str:
        if self._free_names and self._draws.random() < self._settings.again:
            name = self._free_names.pop(self._draws.randrange(len(self._free_names)))
            if self._client.pod(name) is None:
                return name
        self._number += 1
        return f"p{self._number}"

    def _end(self, story: PodStory) -> None:
        """Delete a running pod, or let its containers exit."""
        if self._draws.random() < 0.4:
            self._client.patch_pod(story.name, {"metadata": {"uid": story.uid, "annotations": {RUN_ANNOTATION: "0"}}})
        else:
            self._delete(story)

    def _delete(self, story: PodStory) -> None:
        if story.pod["metadata"].get("deletionTimestamp"):
            return
        self.deleted.add(story.uid)
        self._free_names.append(story.name)
        self._client.delete_pod(story.name, uid=story.uid)

    def _units_of(self, story: PodStory) -> int:
        asks = pod_demand(story.pod["spec"])
        whole = asks.get(NAMES.gpu_resource, 0) * self._settings.gpu_units
        return whole + asks.get(NAMES.memory_resource, 0)
