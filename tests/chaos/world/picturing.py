"""Computes from the API server's objects alone what each GPU has free, and which waiting pods would fit."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.simulated.client import ClusterClient
from bench.simulated.pod_demand import pod_demand
from extender.contract.inventory import parse_inventory
from extender.contract.names import Names
from tests.checker import UsageCheck

Body = Mapping[str, Any]
_DONE = ("Succeeded", "Failed")
NAMES = Names()


@dataclass(frozen=True, slots=True)
class Picture:
    """The cluster at one moment: units in use and capacity of each GPU by node, and the pods.

    `holders` has the UIDs of the pods that are charged, by node.
    """

    capacity: Mapping[str, Mapping[str, int]]
    usage: Mapping[str, Mapping[str, int]]
    holders: Mapping[str, frozenset[str]]
    pods: tuple[Body, ...]

    def free(self, node: str) -> dict[str, int]:
        """Units free on each GPU of a node."""
        used = self.usage[node]
        return {uuid: units - used.get(uuid, 0) for uuid, units in self.capacity[node].items()}

    def pending(self) -> list[Body]:
        """Pods without a node that nobody deletes."""
        return [pod for pod in self.pods if not pod["spec"].get("nodeName") and not _is_going(pod)]

    def would_fit(self) -> list[str]:
        """Names of waiting pods that have room somewhere, where no other pod was promised it by a preemption."""
        promised = {pod["status"].get("nominatedNodeName"): pod["metadata"]["uid"] for pod in self.pending()}
        return [
            pod["metadata"]["name"]
            for pod in self.pending()
            if any(
                _fits(pod, self.free(node), self.capacity[node])
                for node in self.capacity
                if promised.get(node, pod["metadata"]["uid"]) == pod["metadata"]["uid"]
            )
        ]


def take_picture(client: ClusterClient) -> Picture:
    """Read all nodes and pods from the API server and count.

    Raises:
        FailureStatusError: it refuses.
        UnreachableError: it does not answer.
    """
    nodes = client.list_all("/api/v1/nodes")[0]
    pods = client.pods()
    check = UsageCheck(NAMES)
    capacity: dict[str, dict[str, int]] = {}
    for node in nodes:
        check.set_node(node)
        text = (node["metadata"].get("annotations") or {}).get(NAMES.inventory_annotation)
        if text is not None:
            inventory = parse_inventory(text)
            capacity[node["metadata"]["name"]] = {gpu.uuid: inventory.units_of(gpu) for gpu in inventory.gpus}
    for pod in pods:
        check.set_pod(pod)
    usage = {name: check.usage(name) for name in capacity}
    holders = {name: frozenset(_holders(pods, name)) for name in capacity}
    return Picture(capacity, usage, holders, tuple(pods))


def differences(picture: Picture, answer: bytes) -> list[str]:
    """Where the extender's answer to /v1/nodes is not what the picture says."""
    told = {node["name"]: node for node in json.loads(answer)["nodes"]}
    found = [f"node {name} is in one of the two only" for name in sorted(told.keys() ^ picture.capacity.keys())]
    for name in sorted(told.keys() & picture.capacity.keys()):
        found += _differences_of(name, told[name], picture)
    return found


def _differences_of(name: str, told: Body, picture: Picture) -> Iterator[str]:
    used, free = picture.usage[name], picture.free(name)
    for gpu in told["gpus"]:
        uuid = gpu["uuid"]
        expected = (used.get(uuid, 0), 0, free.get(uuid))
        actual = (gpu["allocated"], gpu["held"], gpu["free"])
        if actual != expected:
            yield f"{uuid}: allocated, held, free are {actual}, by the API server {expected}"
    holders = {holder["uid"] for gpu in told["gpus"] for holder in gpu["holders"]}
    for uid in sorted(holders ^ picture.holders[name]):
        yield f"{name}: pod {uid} {'is charged but not there' if uid in holders else 'is not charged'}"
    if told["unplaced"]:
        yield f"{name}: unplaced {told['unplaced']}"


def _holders(pods: list[dict[str, Any]], node: str) -> Iterator[str]:
    for pod in pods:
        asks = pod_demand(pod["spec"])
        asks_gpu = asks.get(NAMES.memory_resource) or asks.get(NAMES.gpu_resource)
        if asks_gpu and pod["spec"].get("nodeName") == node and pod["status"].get("phase") not in _DONE:
            yield pod["metadata"]["uid"]


def _is_going(pod: Body) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or pod["status"].get("phase") in _DONE


def _fits(pod: Body, free: Mapping[str, int], capacity: Mapping[str, int]) -> bool:
    asks = pod_demand(pod["spec"])
    whole = asks.get(NAMES.gpu_resource, 0)
    if whole:
        return sum(1 for uuid, units in free.items() if units == capacity[uuid]) >= whole
    units = asks.get(NAMES.memory_resource, 0)
    count = int((pod["metadata"].get("annotations") or {}).get(NAMES.count_annotation, "1"))
    share = units // count
    return sum(1 for left in free.values() if left >= share) >= count
