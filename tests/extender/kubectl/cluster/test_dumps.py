"""Dumps and traces are read as the cluster itself is; what is neither is refused with what was expected."""

import json
from pathlib import Path
from typing import Any

import pytest

from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.kubectl.cluster.cost_case import case_of
from extender.kubectl.cluster.dumps import demand_of_trace, view_of_dump
from extender.kubectl.options import BadUsage
from tests.extender.kubectl.placed import node, placed


def _dump(folder: Path, *items: dict[str, Any]) -> Path:
    file = folder / "cluster.json"
    file.write_text(json.dumps({"kind": "List", "items": items}))
    return file


def test_a_dump_is_a_view_of_its_nodes_and_pods(tmp_path: Path) -> None:
    """In the unit of the nodes' inventories; objects of other kinds are none of them."""
    node_, pod = {"kind": "Node", **node("n1", 16)}, {"kind": "Pod", **placed("a", 4, "n1")}
    view = view_of_dump(_dump(tmp_path, node_, pod, {"kind": "Service", "metadata": {"name": "web"}}), Names())
    assert ([*view.nodes], [pod.name for pod in view.gpu_pods], view.snapshot.nodes["n1"].free) == (
        ["n1"],
        ["a"],
        (12,),
    )


def test_a_dump_in_units_of_half_a_gib_is_read_in_them(tmp_path: Path) -> None:
    """The unit is found out as on a live cluster."""
    gpu = {"uuid": "GPU-1", "index": 0, "model": "Tesla T4", "memoryMib": 15360, "healthy": True}
    body = node("ours", 16)
    body["metadata"]["annotations"]["gpupack.io/inventory"] = json.dumps({"version": 1, "unitMib": 512, "gpus": [gpu]})
    case = case_of(view_of_dump(_dump(tmp_path, {"kind": "Node", **body}), Names()), source="test")
    assert (case.unit_mib, case.nodes[0].shape.units) == (UnitMib(512), 30)


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"items": [1]}', "[" * 100_000, "\udcff"])
def test_what_is_no_dump_is_refused(tmp_path: Path, text: str) -> None:
    """One line, never a traceback."""
    file = tmp_path / "cluster.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadUsage, match="not a list of objects, expected `kubectl get nodes,pods -A -o json`"):
        view_of_dump(file, Names())


def test_a_trace_is_a_demand_by_size(tmp_path: Path) -> None:
    """GPUs are counted, pods without any are not; other columns may be there."""
    file = tmp_path / "pods.csv"
    file.write_text("name,num_gpu,gpu_milli\na,1,460\nb,1,460\nc,8,1000\nd,0,0\n")
    assert demand_of_trace(file) == {460: 2.0, 1000: 8.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\na\n", "'num_gpu', expected a pod list with the columns num_gpu and gpu_milli"),
        ("num_gpu,gpu_milli\n1,much\n", "'much', expected a pod list"),
        ("num_gpu,gpu_milli\n1\n", "expected a pod list"),
        ("num_gpu,gpu_milli\n", "no pods, expected a pod list"),
        ("num_gpu,gpu_milli\n1,1001\n", "gpu_milli is 1001, expected 1 to 1000"),
        ("num_gpu,gpu_milli\n1,0\n", "gpu_milli is 0, expected 1 to 1000"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With the file and what was expected."""
    file = tmp_path / "pods.csv"
    file.write_text(text)
    with pytest.raises(BadUsage, match=message):
        demand_of_trace(file)
