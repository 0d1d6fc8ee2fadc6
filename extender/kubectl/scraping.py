"""From the device plugins' pods to their metrics, through the API server's proxy to pods, many at a time."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from extender.apierrors import ApiError, ApiUnreachable
from extender.kubectl.components import metrics_port, plugins_of
from extender.kubectl.objects import PodObject
from extender.kubectl.session import Session, segment
from extender.kubectl.usage import NodeUsage, Usage, parse_usage
from extender.kubectl.view import ClusterView

AT_A_TIME = 16
TIMEOUT_S = 5.0
ALL_TIMEOUT_S = 20.0
_LONGEST = 200
MOST_NODES = 200
"""Nodes that are asked unless somebody insists: each costs the API server a connection to the node."""


def proxied(pod: PodObject, path: str) -> str | None:
    """Where the API server passes a GET of `path` on to the pod's metrics port; None when it names none."""
    port, metadata = metrics_port(pod), pod.metadata
    if port is None:
        return None
    return f"/api/v1/namespaces/{segment(metadata.namespace)}/pods/{segment(metadata.name)}:{port}/proxy{path}"


def scrape(session: Session, view: ClusterView, nodes: Iterable[str], *, insist: bool = False) -> Usage:
    """What the device plugins of these nodes measured.

    A node whose plugin is not found, not allowed to be asked or does not answer in time has a problem instead.
    """
    names = sorted(set(nodes))
    if len(names) > MOST_NODES and not insist:
        return Usage(problems=dict.fromkeys(names, f"more than {MOST_NODES} nodes; --used asks them all"))
    plugins = {pod.spec.node_name: pod for pod in plugins_of(view.pods.values()) if pod.status.phase == "Running"}
    asker = _Asker(session, plugins)
    with ThreadPoolExecutor(AT_A_TIME) as workers:
        answers = list(workers.map(asker.ask, names))
    return Usage(
        {name: answer for name, answer in zip(names, answers, strict=True) if isinstance(answer, NodeUsage)},
        {name: answer for name, answer in zip(names, answers, strict=True) if isinstance(answer, str)},
    )


class _Asker:
    """Asks one node after the other; what one answer makes clear for all is not asked again."""

    def __init__(self, session: Session, plugins: Mapping[str, PodObject]) -> None:
        self._session = session
        self._plugins = plugins
        self._until_s = time.monotonic() + ALL_TIMEOUT_S
        self._hopeless = ""

    def ask(self, node: str) -> NodeUsage | str:
        """What its device plugin measured, or why that is not known."""
        pod = self._plugins.get(node)
        if pod is None:
            return "no running device plugin pod is there"
        path = proxied(pod, "/metrics")
        if path is None:
            return f"pod {pod.path} has no port named metrics"
        if self._hopeless or time.monotonic() > self._until_s:
            return self._hopeless or f"not asked: the others took {ALL_TIMEOUT_S:g} s"
        try:
            return parse_usage(self._session.api.read(path, TIMEOUT_S).decode("utf-8", "replace"))
        except ApiError as error:
            if error.status == 403:
                self._hopeless = f"not allowed: get pods/proxy in namespace {pod.metadata.namespace}"
                return self._hopeless
            return f"its metrics can't be read through the API server: {error.status} {error.message}"[:_LONGEST]
        except ApiUnreachable as error:
            return f"its metrics did not come in time: {error}"[:_LONGEST]
        except ValueError as error:
            return f"its metrics can't be read: {error}"[:_LONGEST]
