"""Reads and writes nodes and pods as CSV in the columns of Alibaba's cluster-trace-gpu-v2023.

Nodes: `sn,cpu_milli,memory_mib,gpu,model`. Pods: `name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,
creation_time,deletion_time,scheduled_time`; the last five may be missing. `gpu_milli` is thousandths of one GPU, 1000
when `num_gpu` is above 1; `gpu_spec` lists the accepted models, divided by `|`, empty for all.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

WHOLE_MILLI = 1000
_LARGEST = 1 << 40


class TraceError(ValueError):
    """A trace file cannot be used; the message names the file, the line, the field and what was expected."""


@dataclass(frozen=True, slots=True)
class TraceNode:
    """One node: `gpus` equal GPUs of one model."""

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str


@dataclass(frozen=True, slots=True)
class TracePod:
    """One pod: `gpu_milli` of each of `gpus` GPUs of one of `models` (any when empty); times in seconds of the trace.

    Raises:
        TraceError: the GPUs asked for have no meaning.
    """

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    models: tuple[str, ...] = ()
    qos: str = ""
    created_s: int | None = None
    deleted_s: int | None = None

    def __post_init__(self) -> None:
        if self.gpus and not 1 <= self.gpu_milli <= WHOLE_MILLI:
            raise TraceError(f"gpu_milli is {self.gpu_milli}, expected 1 to {WHOLE_MILLI}")
        if self.gpus > 1 and self.gpu_milli != WHOLE_MILLI:
            raise TraceError(f"gpu_milli is {self.gpu_milli} with num_gpu {self.gpus}, expected {WHOLE_MILLI}")

    @property
    def demand_milli(self) -> int:
        """Thousandths of GPUs asked for in all."""
        return self.gpus * self.gpu_milli


_Row = TypeVar("_Row")


def read_nodes(path: Path) -> list[TraceNode]:
    """The nodes of a node list.

    Raises:
        TraceError: the file cannot be read or is no node list.
    """
    return _read(path, _node, ("sn", "cpu_milli", "memory_mib", "gpu", "model"))


def read_pods(path: Path) -> list[TracePod]:
    """The pods of a pod list.

    Raises:
        TraceError: the file cannot be read or is no pod list.
    """
    return _read(path, _pod, ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec"))


def digest(path: Path) -> str:
    """SHA-256 of a file, by which results say what they were made from."""
    return sha256(path.read_bytes()).hexdigest()


def write_nodes(path: Path, nodes: Iterable[TraceNode]) -> None:
    """Write a node list."""
    rows = ((node.name, node.cpu_milli, node.memory_mib, node.gpus, node.model) for node in nodes)
    _write(path, ("sn", "cpu_milli", "memory_mib", "gpu", "model"), rows)


def write_pods(path: Path, pods: Iterable[TracePod]) -> None:
    """Write a pod list."""
    header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time"
    rows = (
        (
            pod.name,
            pod.cpu_milli,
            pod.memory_mib,
            pod.gpus,
            pod.gpu_milli,
            "|".join(pod.models),
            pod.qos,
            "Running",
            "" if pod.created_s is None else pod.created_s,
            "" if pod.deleted_s is None else pod.deleted_s,
        )
        for pod in pods
    )
    _write(path, header.split(","), rows)


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _read(path: Path, parse: Callable[[Mapping[str, str]], _Row], columns: Iterable[str]) -> list[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(csv.DictReader(file), parse, columns, path))
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: {error}, expected CSV in UTF-8") from error
    if not rows:
        raise TraceError(f"{path}: no rows, expected at least one")
    return rows


def _rows(
    reader: "csv.DictReader[str]", parse: Callable[[Mapping[str, str]], _Row], columns: Iterable[str], path: Path
) -> Iterator[_Row]:
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise TraceError(f"{path}: no column {', '.join(missing)}, expected {', '.join(columns)}")
    for row in reader:
        try:
            yield parse(row)
        except TraceError as error:
            raise TraceError(f"{path}, line {reader.line_num}: {error}") from error


def _node(row: Mapping[str, str]) -> TraceNode:
    return TraceNode(
        name=row["sn"],
        cpu_milli=_integer(row, "cpu_milli"),
        memory_mib=_integer(row, "memory_mib"),
        gpus=_integer(row, "gpu"),
        model=row["model"] or "",
    )


def _pod(row: Mapping[str, str]) -> TracePod:
    return TracePod(
        name=row["name"],
        cpu_milli=_integer(row, "cpu_milli"),
        memory_mib=_integer(row, "memory_mib"),
        gpus=_integer(row, "num_gpu"),
        gpu_milli=_integer(row, "gpu_milli"),
        models=tuple(model for model in (row["gpu_spec"] or "").split("|") if model),
        qos=row.get("qos") or "",
        created_s=_time(row, "creation_time"),
        deleted_s=_time(row, "deletion_time"),
    )


def _time(row: Mapping[str, str], field: str) -> int | None:
    return _integer(row, field) if row.get(field) else None


def _integer(row: Mapping[str, str], field: str) -> int:
    text = row[field]
    try:
        value = int(float(text))
    except (TypeError, ValueError, OverflowError):
        raise TraceError(f"{field} is {text!r}, expected a whole number") from None
    if not 0 <= value <= _LARGEST:
        raise TraceError(f"{field} is {text!r}, expected 0 to {_LARGEST}")
    return value
