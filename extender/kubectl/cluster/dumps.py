"""Reads what a cluster was from files: a dump of its nodes and pods, and the pod list of a trace."""

import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.kubectl.cluster.view import ClusterView, view_of
from extender.kubectl.options import BadUsage

WHOLE_MILLI = 1000
"""What a trace calls one whole GPU."""


def view_of_dump(file: Path, names: Names, unit_mib: UnitMib | None = None) -> ClusterView:
    """The cluster that the output of `kubectl get nodes,pods -A -o json` describes.

    Raises:
        BadUsage: the file cannot be read, or holds no list of objects.
    """
    try:
        items: list[Mapping[str, Any]] = json.loads(file.read_bytes())["items"]
        kinds = [(item["kind"], json.dumps(item).encode()) for item in items]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadUsage(f"{file}: not a list of objects, expected `kubectl get nodes,pods -A -o json`") from error
    return view_of(
        [raw for kind, raw in kinds if kind == "Node"],
        [raw for kind, raw in kinds if kind == "Pod"],
        names=names,
        taken_at=datetime.now(UTC),
        unit_mib=unit_mib,
    )


def demand_of_trace(file: Path) -> dict[int, float]:
    """GPUs that the pods of a list ask for, by size in thousandths of a GPU.

    The list is a CSV file with the columns `num_gpu` and `gpu_milli`, as in Alibaba's cluster-trace-gpu-v2023.

    Raises:
        BadUsage: the file cannot be read, or a row has no such numbers.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = [(int(row["num_gpu"]), int(row["gpu_milli"])) for row in csv.DictReader(lines)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise BadUsage(f"{file}: {error}, expected a pod list with the columns num_gpu and gpu_milli") from error
    if not rows:
        raise BadUsage(f"{file}: no pods, expected a pod list with the columns num_gpu and gpu_milli")
    demand: dict[int, float] = {}
    for gpus, size_milli in rows:
        if gpus and not 1 <= size_milli <= WHOLE_MILLI:
            raise BadUsage(f"{file}: gpu_milli is {size_milli}, expected 1 to {WHOLE_MILLI}")
        if gpus:
            demand[size_milli] = demand.get(size_milli, 0.0) + gpus
    return demand
