"""Writes down what becomes of every pod, as a watcher of the API server sees it and when."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.simulated.client import ClusterClient, UnreachableError
from bench.simulated.informer import Informer
from bench.simulated.starting import Startable

Body = Mapping[str, Any]
_DONE = ("Succeeded", "Failed")


@dataclass(slots=True)
class PodStory:
    """One pod; times are of the monotonic clock, None for what has not happened."""

    name: str
    uid: str
    seen_s: float
    pod: Body
    bound_s: float | None = None
    gone_s: float | None = None

    @property
    def is_pending(self) -> bool:
        """Whether it waits for a node."""
        return self.bound_s is None and self.gone_s is None

    @property
    def is_running(self) -> bool:
        """Whether its containers run."""
        return self.gone_s is None and self.pod.get("status", {}).get("phase") == "Running"

    @property
    def is_done(self) -> bool:
        """Whether it has ended, by itself or deleted."""
        return self.gone_s is not None or self.pod.get("status", {}).get("phase") in _DONE

    @property
    def rejection(self) -> str:
        """Why the kubelet did not admit it; empty otherwise."""
        status = self.pod.get("status", {})
        return str(status.get("reason") or "") if status.get("phase") == "Failed" else ""


class Follower(Startable):
    """Follows all pods; safe to ask from any thread.

    Args:
        client: how to reach the API server.
    """

    def __init__(self, client: ClusterClient) -> None:
        self._lock = threading.Lock()
        self._stories: dict[str, PodStory] = {}
        self._informer = Informer(client, "/api/v1/pods", self._changed)

    def start(self) -> None:
        """Begin.

        Raises:
            UnreachableError: the API server gives no list.
        """
        self._informer.start()
        if not self._informer.wait_synced():
            raise UnreachableError("follower: no list of pods within 30 s")

    def stop(self) -> None:
        """End."""
        self._informer.stop()

    def stories(self) -> list[PodStory]:
        """Every pod that was ever seen, oldest first."""
        with self._lock:
            return list(self._stories.values())

    def take_over(self, other: "Follower") -> None:
        """Go on with what another one has written down; before `start`."""
        self._stories = {story.uid: story for story in other.stories()}

    def _changed(self, kind: str, pod: Body) -> None:
        now_s = time.monotonic()
        uid = str(pod["metadata"]["uid"])
        with self._lock:
            story = self._stories.setdefault(uid, PodStory(pod["metadata"]["name"], uid, now_s, pod))
            story.pod = pod
            story.gone_s = now_s if kind == "DELETED" else None
            if not pod["spec"].get("nodeName"):
                story.bound_s = None
            elif story.bound_s is None:
                story.bound_s = now_s
