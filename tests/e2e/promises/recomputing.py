"""Works out from the API server alone what the extender should say of every GPU."""

from bench.simulated.client import ClusterClient
from bench.simulated.waiting import wait_until
from tests.checker import UsageCheck, Violation
from tests.e2e.scenarios.environment import Environment

Usage = dict[str, dict[str, int]]
"""Units in use by node and GPU; GPUs without any are left out."""


def _read(client: ClusterClient) -> tuple[UsageCheck, list[str]]:
    check = UsageCheck()
    nodes, _ = client.list_all("/api/v1/nodes")
    for node in nodes:
        check.set_node(node)
    for pod in client.pods():
        check.set_pod(pod)
    return check, [node["metadata"]["name"] for node in nodes]


def in_truth(client: ClusterClient) -> Usage:
    """What the API server's pods have."""
    check, nodes = _read(client)
    return {node: check.usage(node) for node in nodes}


def violations(client: ClusterClient) -> list[Violation]:
    """What is wrong in the API server's pods and nodes as they are now."""
    return _read(client)[0].settle()


def as_told(environment: Environment) -> Usage:
    """What the extender says that pods have."""
    return {
        node["name"]: {gpu["uuid"]: gpu["allocated"] for gpu in node["gpus"] if gpu["allocated"]}
        for node in environment.extender_nodes()
    }


def wait_agreed(environment: Environment, *, timeout_s: float = 30) -> None:
    """Wait until the extender says what is true.

    Raises:
        TimeoutError: it does not; the message has both.
    """
    try:
        wait_until(lambda: as_told(environment) == in_truth(environment.client), timeout_s=timeout_s)
    except TimeoutError:
        told, true = as_told(environment), in_truth(environment.client)
        raise TimeoutError(f"after {timeout_s:g} s the extender says {told}, where {true} is true") from None
