"""From a load to the JSON of its API objects: nodes and bound pods for lists, pending pods, events of a life."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.latency.load import NAMES, SIZES_UNITS, Load, pod_body
from extender.contract.allocation import Allocation
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid, Units

Body = dict[str, Any]
_FIELDS = ("spec", "containers", "resources", "limits", "volumeMounts", "env", "status", "conditions")
_OWNED_BYTES = 46
"""About what one entry of `managedFields` takes."""


@dataclass(frozen=True, slots=True)
class Pods:
    """Makes pods of about `size_bytes` of JSON; what is missing to that size is managedFields, as on real pods."""

    size_bytes: int = 2500

    def pending(self, name: str, units: int, version: int, *, cpu_milli: int = 500) -> Body:
        """A pod that kube-scheduler has not placed."""
        body = pod_body(name, units)
        body["spec"]["containers"][0]["resources"]["requests"]["cpu"] = f"{cpu_milli}m"
        body["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": str(version)}
        entries = max(0, self.size_bytes - len(json.dumps(body, separators=(",", ":")))) // _OWNED_BYTES
        if entries:
            owned: Body = {f"f:{_FIELDS[at % len(_FIELDS)]}-{at:04}": {"f:value": {}, ".": {}} for at in range(entries)}
            body["metadata"]["managedFields"] = [
                {"manager": "kubelet", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": owned}
            ]
        return body

    def bound(self, name: str, units: int, version: int, node: str, gpu: GpuUuid, *, cpu_milli: int = 500) -> Body:
        """The same pod after its Binding."""
        body = self.pending(name, units, version, cpu_milli=cpu_milli)
        allocation = Allocation(DEFAULT_UNIT_MIB, {"main": {gpu: Units(units)}}, "price-fit-robust")
        body["metadata"]["annotations"] = {NAMES.allocation_annotation: allocation.to_json()}
        body["spec"]["nodeName"] = node
        return body


@dataclass(frozen=True, slots=True)
class Population:
    """The objects that are there at the start.

    Args:
        load: nodes, and the GPUs of each.
        per_node: bound pods on each node; they sit on its GPUs in turn.
        pods: how pods look.
        diverse: pods ask for CPU in many different amounts, so that few nodes look alike.
    """

    load: Load
    per_node: int
    pods: Pods
    diverse: bool = False

    def nodes(self) -> Iterator[Body]:
        """The Node objects."""
        for at, spec in enumerate(self.load.specs()):
            body = spec.hollow_node_object(NAMES)
            body["metadata"] |= {"uid": f"uid-{spec.name}", "resourceVersion": str(at + 1)}
            yield body

    def bound(self) -> Iterator[Body]:
        """The Pod objects; the first GPUs of a node are filled two at a time, the last stay empty."""
        version = self.load.nodes
        gpus = max(1, self.load.gpus - 1)
        for at, spec in enumerate(self.load.specs()):
            uuids = [gpu.uuid for gpu in spec.inventory().gpus]
            for number in range(self.per_node):
                version += 1
                units = SIZES_UNITS[(at + number) % 3]
                cpu_milli = 100 + 37 * ((at * 7 + number * 13) % 97) if self.diverse else 500
                gpu = uuids[number % gpus]
                yield self.pods.bound(f"there-{at}-{number}", units, version, spec.name, gpu, cpu_milli=cpu_milli)


def encoded(body: Body) -> bytes:
    """As the API server writes it."""
    return json.dumps(body, separators=(",", ":")).encode()
