"""From GpuRows to what these GPUs have together."""

from collections.abc import Iterable
from dataclasses import dataclass

from extender.kubectl.gpu_rows import GpuRow


@dataclass(frozen=True, slots=True)
class Sum:
    """What some GPUs have together, in units; `used_mib` is None unless it is known of all of them."""

    nodes: int
    gpus: int
    capacity: int
    allocated: int
    free: int
    largest: int
    idle: int
    out: int
    used_mib: float | None


def sum_of(rows: Iterable[GpuRow]) -> Sum:
    """What these GPUs have together."""
    gpus = [(row, row.gpu) for row in rows if row.gpu is not None]
    working = [gpu for row, gpu in gpus if not row.problem]
    known = [row.used_mib for row, _ in gpus if row.used_mib is not None]
    return Sum(
        nodes=len({row.node for row, _ in gpus}),
        gpus=len(gpus),
        capacity=sum(gpu.capacity for _, gpu in gpus),
        allocated=sum(gpu.used for _, gpu in gpus),
        free=sum(gpu.free for gpu in working),
        largest=max((gpu.free for gpu in working), default=0),
        idle=sum(gpu.idle for gpu in working),
        out=sum(bool(row.problem) or not gpu.healthy for row, gpu in gpus),
        used_mib=sum(known) if known and len(known) == len(gpus) else None,
    )
