"""The cluster and the pods that the latency benchmark uses, and the bodies of kube-scheduler's calls."""

import json
from dataclasses import dataclass
from typing import Any

from bench.simulated.specs import GpuSpec, NodeSpec
from extender.contract.names import Names

NAMES = Names()
SIZES_UNITS = (4, 8, 10, 16, 24, 40)
GPU = GpuSpec("NVIDIA A100-SXM4-80GB", 81920)


@dataclass(frozen=True, slots=True)
class Load:
    """`nodes` nodes of `gpus` GPUs each."""

    nodes: int
    gpus: int

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.gpus < 1:
            raise ValueError(f"nodes is {self.nodes}, gpus is {self.gpus}: expected at least 1 of each")

    def specs(self) -> list[NodeSpec]:
        """The nodes."""
        gpus = (GpuSpec(GPU.model, GPU.memory_mib, self.gpus),)
        return [NodeSpec(f"n{number:05}", gpus, cpu=128, memory_gib=1024) for number in range(self.nodes)]


def pod_body(name: str, units: int) -> dict[str, Any]:
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


def filter_body(pod: dict[str, Any], names: list[str]) -> bytes:
    """ExtenderArgs as kube-scheduler sends them with nodeCacheCapable."""
    return json.dumps({"Pod": pod, "Nodes": None, "NodeNames": names}, separators=(",", ":")).encode()


def bind_body(pod: dict[str, Any], node: str) -> bytes:
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
