"""Records Events about this node and its pods."""

from typing import Protocol

from device_plugin.pods.pod import BoundPod
from extender.kube.events import News, node_news


class EventWriter(Protocol):
    """Writes Events at some time; see `extender.kube.events.EventRecorder`."""

    def put(self, news: News) -> None:
        """Queue an Event; returns at once."""
        ...


class Events:
    """Queues Events about one node and its pods; every call returns at once."""

    def __init__(self, recorder: EventWriter, node_name: str) -> None:
        self._recorder = recorder
        self._node_name = node_name

    def about_node(self, level: str, reason: str, message: str) -> None:
        """Record something about the node; `level` is `Normal` or `Warning`."""
        self._recorder.put(node_news(self._node_name, level, reason, message))

    def about_pod(self, pod: BoundPod, level: str, reason: str, message: str) -> None:
        """Record something about a pod; `level` is `Normal` or `Warning`."""
        self._recorder.put(News(pod.namespace, pod.name, pod.uid, level, reason, message))
