"""From news about the node's pods and GPUs to Events of the API server, written by a thread of its own.

What says the same of the same object again is counted on the Event that is there; nobody waits for an Event, and when
more happens than can be written, the oldest news is dropped.
"""

import logging
import random
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from device_plugin.backoff import Backoff
from device_plugin.kubeapi import ApiError, Writing
from device_plugin.pods.pod import BoundPod

_LOG = logging.getLogger(__name__)

COMPONENT = "gpupack-device-plugin"
_TIMEOUT_S = 5.0
_MOST_WAITING = 256
_MOST_REMEMBERED = 1024
_MOST_TRIES = 5


@dataclass(frozen=True, slots=True)
class News:
    """One thing to say: of which object, `Normal` or `Warning`, a reason in one word, and a sentence."""

    kind: str
    namespace: str
    name: str
    uid: str
    level: str
    reason: str
    message: str


class Events:
    """Writes Events about this node and its pods.

    Args:
        api: where they go.
        node_name: the Node, also named as their source.
        now: the time, RFC 3339.
    """

    def __init__(self, api: Writing, node_name: str, now: Callable[[], str] | None = None) -> None:
        self._api = api
        self._node_name = node_name
        self._now = now or _utc
        self._backoff = Backoff(first_s=1.0, last_s=30.0)
        self._waiting: deque[News] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._written: OrderedDict[News, tuple[str, int]] = OrderedDict()

    def about_node(self, level: str, reason: str, message: str) -> None:
        """Say something of the node; returns at once."""
        # The kubelet names its Node by name in `uid`, and `kubectl describe node` looks for that.
        self._put(News("Node", "", self._node_name, self._node_name, level, reason, message))

    def about_pod(self, pod: BoundPod, level: str, reason: str, message: str) -> None:
        """Say something of a pod; returns at once."""
        self._put(News("Pod", pod.namespace, pod.name, pod.uid, level, reason, message))

    def _put(self, news: News) -> None:
        with self._changed:
            self._waiting.append(news)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let `run` look at its stop event."""
        with self._changed:
            self._changed.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop (and then woken)."""
        while not stop.is_set():
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or stop.is_set(), 1.0)
                news = self._waiting.popleft() if self._waiting else None
            if news is not None:
                self._deliver(news, stop)

    def _deliver(self, news: News, stop: threading.Event) -> None:
        for failures in range(1, _MOST_TRIES + 1):
            try:
                self._write(news)
            except ApiError as error:
                _LOG.warning("event %s about %s is not written: %s", news.reason, news.name, error)
                if 400 <= error.status < 500 and error.status != 429:
                    return  # the same again would be refused again
                if stop.wait(self._backoff.delay_s(failures, random.random())):  # noqa: S311 - spreads retries
                    return
            else:
                return

    def _write(self, news: News) -> None:
        folder = f"/api/v1/namespaces/{news.namespace or 'default'}/events"
        name, count = self._written.pop(news, ("", 0))
        if name:
            try:
                change = {"count": count + 1, "lastTimestamp": self._now()}
                self._api.patch(f"{folder}/{name}", change, _TIMEOUT_S)
            except ApiError as error:
                if error.status != 404:
                    self._written[news] = (name, count)
                    raise
                name, count = "", 0  # Events live an hour
        if not name:
            name = f"{news.name}.{uuid.uuid4().hex[:16]}"
            self._api.create(folder, self._body(news, name), _TIMEOUT_S)
        self._written[news] = (name, count + 1)
        if len(self._written) > _MOST_REMEMBERED:
            self._written.popitem(last=False)

    def _body(self, news: News, name: str) -> Mapping[str, Any]:
        about = {"apiVersion": "v1", "kind": news.kind, "name": news.name, "uid": news.uid}
        if news.namespace:
            about["namespace"] = news.namespace
        now = self._now()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": news.namespace or "default"},
            "involvedObject": about,
            "type": news.level,
            "reason": news.reason,
            "message": news.message[:1024],
            "source": {"component": COMPONENT, "host": self._node_name},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node_name,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }


def _utc() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
