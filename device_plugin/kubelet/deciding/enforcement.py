"""Turns a container's share of its GPUs into the environment variables and mounts that hold it to that share.

A container stands on the best rung that all its GPUs have and that can express its shares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from device_plugin.gpus.standing import ADVISORY_ONLY, Standing
from device_plugin.settings import LADDER, MpsAccess, Rung
from extender.contract.units import GpuUuid


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the node that is mounted into the container."""

    container_path: str
    host_path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Enforced:
    """How one container is held to its share: the rung it is on, its environment and its mounts."""

    rung: Rung
    envs: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """What one container may use of one GPU."""

    uuid: GpuUuid
    memory_mib: int
    gpu_memory_mib: int


def enforce(shares: Sequence[Share], standings: Mapping[GpuUuid, Standing], mps: MpsAccess | None = None) -> Enforced:
    """How one container is held to these shares: by the best rung of all its GPUs that can express them."""
    rung = next(rung for rung in LADDER if _may(rung, shares, standings, mps))
    envs = {"GPUPACK_ENFORCEMENT": rung.value}
    if rung is Rung.DRIVER:
        # Read by the container toolkit's hook apply-cuda-memory-limits, from 1.20.1 on.
        limit = str(shares[0].memory_mib)
        return Enforced(
            rung, envs | _growing() | {"NVIDIA_GPU_MEMORY_REQUEST": limit, "NVIDIA_GPU_MEMORY_LIMIT": limit}
        )
    if rung is Rung.MPS and mps is not None:
        return _under_mps(shares, envs, mps)
    return Enforced(rung, envs | _fraction(shares))


def enforce_core(percent: int, standings: Sequence[Standing], mps: MpsAccess | None = None) -> Enforced:
    """How one container is held to that percentage of the compute of each of its GPUs, given their standings.

    CUDA_MPS_ACTIVE_THREAD_PERCENTAGE is one number for all GPUs of a client (https://docs.nvidia.com/deploy/mps).
    """
    envs = {"GPUPACK_GPU_CORE_PERCENT": str(percent)}
    if mps is None or not all(standing.holds_core for standing in standings):
        return Enforced(Rung.ADVISORY, envs | {"GPUPACK_GPU_CORE_ENFORCEMENT": "none"})
    pipe = _pipe(mps)
    envs |= {"GPUPACK_GPU_CORE_ENFORCEMENT": Rung.MPS.value, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percent)}
    return Enforced(Rung.MPS, {**envs, **pipe.envs}, pipe.mounts)


def _may(rung: Rung, shares: Sequence[Share], standings: Mapping[GpuUuid, Standing], mps: MpsAccess | None) -> bool:
    if rung is Rung.ADVISORY:
        return True
    if rung is Rung.DRIVER and len({share.memory_mib for share in shares}) != 1:
        return False  # NVIDIA_GPU_MEMORY_LIMIT is one number for all GPUs of the container
    if rung is Rung.MPS and mps is None:
        return False
    return all(rung in standings.get(share.uuid, ADVISORY_ONLY).rungs for share in shares)


def _under_mps(shares: Sequence[Share], envs: Mapping[str, str], mps: MpsAccess) -> Enforced:
    """The limits of an MPS client.

    Only the container's own GPUs are named: an entry for an invisible one makes MPS drop all limits.
    """
    limits = ",".join(f"{share.uuid}={share.memory_mib}M" for share in shares)
    pipe = _pipe(mps)
    found = {**envs, **_growing(), **pipe.envs, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": limits}
    return Enforced(Rung.MPS, found, pipe.mounts)


def _pipe(mps: MpsAccess) -> Enforced:
    """What a container needs to reach the daemon."""
    pipe, shm = str(mps.pipe_directory), str(mps.shm_directory)
    mounts = (Mount(pipe, pipe), Mount("/dev/shm", shm))  # noqa: S108 - MPS's own place
    return Enforced(Rung.MPS, {"CUDA_MPS_PIPE_DIRECTORY": pipe}, mounts)


def _growing() -> dict[str, str]:
    """Makes frameworks allocate memory as needed: a limit applies anyway, and they would otherwise grab a whole GPU."""
    return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def _fraction(shares: Sequence[Share]) -> dict[str, str]:
    """Hints that frameworks follow voluntarily; nothing forces a container to.

    The fraction is that of the GPU where the share is smallest, rounded down to thousandths: frameworks apply one
    number to all GPUs that they see.
    """
    thousandths = min((1000 * share.memory_mib // share.gpu_memory_mib for share in shares), default=1)
    return {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{max(1, thousandths) / 1000:.3f}",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
