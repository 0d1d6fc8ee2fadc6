"""A dump is read as the extender reads the cluster, with or without gpupack on it."""

import json
from typing import Any

import pytest

from bench.cost.dump import case_of_dump
from extender.capacity.case import CaseError
from extender.contract.names import Names
from extender.contract.units import UnitMib

NAMES = Names(gpu_resource="nvidia.com/gpu")


def _node(name: str, *, labels: dict[str, str] | None = None, inventory: Any = None, gpus: int = 2) -> dict[str, Any]:
    annotations = {"gpupack.io/inventory": json.dumps(inventory)} if inventory else {}
    return {
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": name,
            "resourceVersion": "7",
            "labels": labels or {},
            "annotations": annotations,
        },
        "status": {"allocatable": {"cpu": "32", "memory": "128Gi", "nvidia.com/gpu": str(gpus)}},
    }


def _pod(name: str, node: str, limits: dict[str, str], **metadata: Any) -> dict[str, Any]:
    container = {"name": "main", "resources": {"limits": limits, "requests": {"cpu": "2", "memory": "4Gi", **limits}}}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team", "uid": name, "resourceVersion": "7", **metadata},
        "spec": {"nodeName": node, "containers": [container]},
        "status": {"phase": "Running"},
    }


STOCK = _node("stock", labels={"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.memory": "15360"})


def _dump(*items: dict[str, Any]) -> str:
    return json.dumps({"kind": "List", "items": items})


def test_a_stock_node_is_read_by_its_labels() -> None:
    """Two T4 of 15 GiB."""
    case = case_of_dump(_dump(STOCK), source="test", names=NAMES)
    assert case.nodes[0].shape.gpus == (("Tesla T4", 15), ("Tesla T4", 15))


def test_pods_count_where_they_run_and_what_they_use() -> None:
    """A whole GPU is asked for, 3000 MiB of it are used; a pod without GPUs takes CPU only."""
    owned = {"ownerReferences": [{"kind": "StatefulSet"}], "labels": {}}
    pods = (_pod("a", "stock", {"nvidia.com/gpu": "1"}, **owned), _pod("cpu", "stock", {}))
    case = case_of_dump(_dump(STOCK, *pods), source="test", names=NAMES, usage={("team", "a"): 3000})
    pod = case.pods[0]
    assert (pod.name, pod.workload, pod.node, pod.asked.whole_gpus) == ("team/a", "StatefulSet", "stock", 1)
    assert (pod.request.memory_units, pod.request.whole_gpus, pod.request.cpu_milli) == (3, 0, 2000)
    assert (case.taken, case.placed) == ({"stock": (2000, 4 << 30)}, True)


def test_a_gpupack_node_is_read_by_its_inventory_in_its_unit() -> None:
    """512 MiB here."""
    gpu = {"uuid": "GPU-1", "index": 0, "model": "Tesla T4", "memoryMib": 15360, "healthy": True}
    body = _node("ours", inventory={"version": 1, "unitMib": 512, "gpus": [gpu]})
    case = case_of_dump(_dump(body), source="test", names=NAMES)
    assert (case.unit_mib, case.nodes[0].shape.units) == (UnitMib(512), 30)


def test_what_is_left_out_is_noted() -> None:
    """An ended pod is nothing to note; one that asks for nonsense is."""
    ended = {**_pod("done", "stock", {"nvidia.com/gpu": "1"}), "status": {"phase": "Succeeded"}}
    odd = _pod("odd", "stock", {"gpupack.io/gpu-mem": "4"}, annotations={"gpupack.io/gpu-count": "3"})
    broken = {"kind": "Pod", "metadata": {"name": 5}}
    case = case_of_dump(_dump(STOCK, ended, odd, broken), source="test", names=NAMES)
    assert (case.pods, len(case.notes)) == ((), 2)


def test_no_gpu_or_no_list_is_an_error() -> None:
    """It says what was expected."""
    with pytest.raises(CaseError, match="no node with GPUs"):
        case_of_dump(_dump(_node("bare", gpus=0)), source="test", names=NAMES)
    for text in ("{}", "[]", "nonsense", '{"items": [1]}'):
        with pytest.raises(CaseError, match="kubectl get nodes,pods"):
            case_of_dump(text, source="test", names=NAMES)
