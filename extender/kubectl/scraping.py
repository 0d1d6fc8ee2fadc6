"""From the device plugins' pods to their metrics, through the API server's proxy to pods, many at a time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from extender.apierrors import ApiError, ApiUnreachable
from extender.kubectl.components import metrics_port, plugins_of
from extender.kubectl.objects import PodObject
from extender.kubectl.session import Session, segment
from extender.kubectl.usage import NodeUsage, Usage, parse_usage
from extender.kubectl.view import ClusterView

AT_A_TIME = 16
TIMEOUT_S = 5.0
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
    with ThreadPoolExecutor(AT_A_TIME) as workers:
        answers = list(workers.map(_asking(session, plugins), names))
    return Usage(
        {name: answer for name, answer in zip(names, answers, strict=True) if isinstance(answer, NodeUsage)},
        {name: answer for name, answer in zip(names, answers, strict=True) if isinstance(answer, str)},
    )


def _asking(session: Session, plugins: dict[str, PodObject]) -> Callable[[str], NodeUsage | str]:
    def ask(node: str) -> NodeUsage | str:
        pod = plugins.get(node)
        if pod is None:
            return "no running device plugin pod is there"
        path = proxied(pod, "/metrics")
        if path is None:
            return f"pod {pod.path} has no port named metrics"
        try:
            return parse_usage(session.api.read(path, TIMEOUT_S).decode("utf-8", "replace"))
        except ApiError as error:
            if error.status == 403:
                return "not allowed: get pods/proxy in its namespace"
            return f"its metrics can't be read through the API server: {error.status} {error.message}"[:200]
        except ApiUnreachable as error:
            return f"its metrics did not come in time: {error}"[:200]
        except ValueError as error:
            return f"its metrics can't be read: {error}"[:200]

    return ask
