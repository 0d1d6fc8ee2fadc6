"""From `kubectl get nodes,pods -A -o json`, or a live cluster's lists, to a case, read as kubectl gpupack does."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from extender.capacity.case import Case, CaseError
from extender.contract.names import Names
from extender.kube.client import KubeApi, connect
from extender.kube.errors import ApiError, ApiUnreachable, KubeConfigError
from extender.kube.listing import EnvelopeError, list_pages
from extender.kubectl.cluster.cost_case import MemoryMib, case_of
from extender.kubectl.cluster.view import view_of

_NODES, _PODS = "/api/v1/nodes", "/api/v1/pods"

_TIMEOUT_S = 60.0


def case_of_dump(text: str | bytes, *, source: str, names: Names, usage: MemoryMib | None = None) -> Case:
    """The case that a dump describes.

    Args:
        text: a v1 List of Nodes and Pods.
        source: for people.
        names: the installation's names; its whole-GPU resource is what stock pods ask for.
        usage: as in `extender.kubectl.cluster.cost_case.case_of`.

    Raises:
        CaseError: no such list, or no GPU in it.
    """
    try:
        items: list[Mapping[str, Any]] = json.loads(text)["items"]
        kinds = [(item["kind"], json.dumps(item).encode()) for item in items]
    except (ValueError, KeyError, TypeError) as error:
        raise CaseError("the dump is no list of objects, expected `kubectl get nodes,pods -A -o json`") from error
    nodes = [raw for kind, raw in kinds if kind == "Node"]
    pods = [raw for kind, raw in kinds if kind == "Pod"]
    return case_of(view_of(nodes, pods, names=names, taken_at=datetime.now(UTC)), source=source, usage=usage)


def case_of_cluster(kubeconfig: Path, *, names: Names, usage: MemoryMib | None = None) -> Case:
    """The case that the cluster of a kubeconfig is now.

    Raises:
        CaseError: it cannot be read, or has no GPU.
    """
    try:
        api = connect(str(kubeconfig), user_agent="gpupack-bench")
    except KubeConfigError as error:
        raise CaseError(str(error)) from error
    try:
        # Pods first: one that is bound between the two lists is then missing, and never on no node.
        pods, nodes = ([*_listed(api, path)] for path in (_PODS, _NODES))
    except (ApiError, ApiUnreachable, EnvelopeError) as error:
        raise CaseError(f"{kubeconfig}: {error}") from error
    finally:
        api.close()
    view = view_of(nodes, pods, names=names, taken_at=datetime.now(UTC))
    return case_of(view, source="live cluster", usage=usage)


def _listed(api: KubeApi, path: str) -> Iterator[bytes]:
    for page in list_pages(api, path, _TIMEOUT_S):
        yield from page.items
