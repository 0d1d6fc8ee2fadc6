"""Makes the nodes and pods that the latency benchmark uses, and the bodies of kube-scheduler's calls."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.simulated.specs import GpuSpec, MachineSpec
from extender.contract.allocation import Allocation
from extender.contract.names import Names
from extender.contract.units import DEFAULT_UNIT_MIB, GpuUuid, Units

Body = dict[str, Any]

NAMES = Names()
SIZES_UNITS = (4, 8, 10, 16, 24, 40)
GPU = GpuSpec("NVIDIA A100-SXM4-80GB", 81920)
_FIELDS = ("spec", "containers", "resources", "limits", "volumeMounts", "env", "status", "conditions")
_OWNED_BYTES = 46
"""About what one entry of `managedFields` takes."""


@dataclass(frozen=True, slots=True)
class Load:
    """`nodes` nodes of `gpus` GPUs each."""

    nodes: int
    gpus: int

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.gpus < 1:
            raise ValueError(f"nodes is {self.nodes}, gpus is {self.gpus}: expected at least 1 of each")

    def specs(self) -> list[MachineSpec]:
        """The nodes."""
        gpus = (GpuSpec(GPU.model, GPU.memory_mib, self.gpus),)
        return [MachineSpec(f"n{number:05}", gpus, cpu=128, memory_gib=1024) for number in range(self.nodes)]


def pod_body(name: str, units: int) -> Body:
    """A pod as admission leaves it: about 2.5 KB, most of it of no interest to a scheduler."""
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": "load", "pod-template-hash": "6c9bb54f55"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "load-6c9bb54f55",
                    "uid": "fdc287f7-d9ea-4c08-9765-d98801939ad9",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "volumes": [
                {
                    "name": "kube-api-access",
                    "projected": {
                        "defaultMode": 420,
                        "sources": [
                            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                        ],
                    },
                }
            ],
            "containers": [
                {
                    "name": "main",
                    "image": "registry.example/inference:1",
                    "env": [{"name": f"VARIABLE_{number}", "value": "x" * 40} for number in range(12)],
                    "resources": {
                        "limits": {NAMES.memory_resource: str(units)},
                        "requests": {"cpu": "500m", "memory": "1Gi", NAMES.memory_resource: str(units)},
                    },
                    "terminationMessagePath": "/dev/termination-log",
                    "imagePullPolicy": "IfNotPresent",
                }
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "schedulerName": "default-scheduler",
            "priority": 0,
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
            ],
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


def filter_body(pod: Body, names: list[str]) -> bytes:
    """ExtenderArgs as kube-scheduler sends them with nodeCacheCapable."""
    return json.dumps({"Pod": pod, "Nodes": None, "NodeNames": names}, separators=(",", ":")).encode()


def bind_body(pod: Body, node: str) -> bytes:
    """ExtenderBindingArgs."""
    metadata = pod["metadata"]
    return json.dumps(
        {
            "PodName": metadata["name"],
            "PodNamespace": metadata["namespace"],
            "PodUID": metadata["uid"],
            "Node": node,
        },
        separators=(",", ":"),
    ).encode()


@dataclass(frozen=True, slots=True)
class Pods:
    """Makes pods of about `size_bytes` of JSON; what is missing to that size is managedFields, as on real pods."""

    size_bytes: int = 2500

    def pending(self, name: str, units: int, *, cpu_milli: int = 500) -> Body:
        """A pod that kube-scheduler has not placed."""
        body = pod_body(name, units)
        body["spec"]["containers"][0]["resources"]["requests"]["cpu"] = f"{cpu_milli}m"
        body["metadata"]["uid"] = f"uid-{name}"
        entries = max(0, self.size_bytes - len(json.dumps(body, separators=(",", ":")))) // _OWNED_BYTES
        if entries:
            owned: Body = {f"f:{_FIELDS[at % len(_FIELDS)]}-{at:04}": {"f:value": {}, ".": {}} for at in range(entries)}
            body["metadata"]["managedFields"] = [
                {"manager": "kubelet", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": owned}
            ]
        return body

    def bound(self, name: str, units: int, node: str, gpu: GpuUuid, *, cpu_milli: int = 500) -> Body:
        """The same pod after its Binding."""
        body = self.pending(name, units, cpu_milli=cpu_milli)
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
        for spec in self.load.specs():
            body = spec.hollow_node_object(NAMES)
            body["metadata"] |= {"uid": f"uid-{spec.name}", "resourceVersion": "1"}
            yield body

    def bound(self) -> Iterator[Body]:
        """The Pod objects; the first GPUs of a node are filled two at a time, the last stay empty."""
        gpus = max(1, self.load.gpus - 1)
        for at, spec in enumerate(self.load.specs()):
            uuids = [gpu.uuid for gpu in spec.inventory().gpus]
            for number in range(self.per_node):
                units = SIZES_UNITS[(at + number) % 3]
                cpu_milli = 100 + 37 * ((at * 7 + number * 13) % 97) if self.diverse else 500
                gpu = uuids[number % gpus]
                yield self.pods.bound(f"there-{at}-{number}", units, spec.name, gpu, cpu_milli=cpu_milli)


encoded = msgspec.json.Encoder().encode
"""JSON as the API server writes it."""
