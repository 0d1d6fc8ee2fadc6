"""From what was proven on a GPU to the best way to hold containers to their share, and from a share to its settings.

The ways form a ladder. A GPU stands on the highest rung that was proven on it, and says why it is not on a better one;
a container stands on the best rung that all its GPUs have. Nothing claims more than was proven.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from device_plugin.settings import LADDER, MpsAccess, Rung
from extender.contract.units import GpuUuid

MPS_CLIENTS_PER_GPU = 48
"""Client processes that one GPU's MPS server takes (Volta to Hopper; https://docs.nvidia.com/deploy/mps)."""


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Why each rung cannot be claimed on one GPU; empty where it was proven there."""

    driver: str = "not tried yet"
    mps: str = "not tried yet"
    watched: str = "not tried yet"

    def to(self, rung: Rung) -> str:
        """What is in the way of one rung; nothing is in the way of the last."""
        return {Rung.DRIVER: self.driver, Rung.MPS: self.mps, Rung.WATCHED: self.watched, Rung.ADVISORY: ""}[rung]


@dataclass(frozen=True, slots=True)
class Standing:
    """The rungs that may be used on one GPU, best first, and why not better ones, for people; the last always may."""

    rungs: tuple[Rung, ...] = (Rung.ADVISORY,)
    why_not_better: str = ""

    @property
    def rung(self) -> Rung:
        """The best one."""
        return self.rungs[0]

    @property
    def holds_core(self) -> bool:
        """Whether containers are held to their share of compute there: MPS alone can do that."""
        return self.rung is Rung.MPS


ADVISORY_ONLY = Standing()
"""Where nothing better was proven."""


def standing(obstacles: Obstacles, best: Rung = Rung.DRIVER) -> Standing:
    """The proven rungs of a GPU, without those above `best`, which is as far as the admin lets it go."""
    whys = {rung: _why_not(rung, obstacles, best) for rung in LADDER}
    rungs = tuple(rung for rung in LADDER if not whys[rung])
    passed = LADDER[: LADDER.index(rungs[0])]
    return Standing(rungs, "; ".join(f"{rung.value}: {whys[rung]}" for rung in passed))


def _why_not(rung: Rung, obstacles: Obstacles, best: Rung) -> str:
    return "turned off" if LADDER.index(rung) < LADDER.index(best) else obstacles.to(rung)


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the node that the container gets."""

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
    """How one container with these shares is held to them: by the best rung of all its GPUs that can express them."""
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
    """How one container is held to that percentage of the compute of each of its GPUs, which stand as told.

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
        return False  # NVIDIA_GPU_MEMORY_LIMIT is one number for every GPU of the container
    if rung is Rung.MPS and mps is None:
        return False
    return all(rung in standings.get(share.uuid, ADVISORY_ONLY).rungs for share in shares)


def _under_mps(shares: Sequence[Share], envs: Mapping[str, str], mps: MpsAccess) -> Enforced:
    """The limits of a client of MPS.

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
    """Frameworks take memory as they need it: a limit stands above them, whatever size they take the GPU for."""
    return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def _fraction(shares: Sequence[Share]) -> dict[str, str]:
    """Hints that frameworks follow by themselves; nothing makes a container keep to them.

    The fraction is that of the GPU where the share is smallest, rounded down to thousandths: the frameworks apply one
    number to every GPU that they see.
    """
    thousandths = min((1000 * share.memory_mib // share.gpu_memory_mib for share in shares), default=1)
    return {
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{max(1, thousandths) / 1000:.3f}",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
