"""From options to one checked Safeguards value: how shares are enforced and which GPUs are kept out of service."""

from dataclasses import dataclass
from pathlib import Path

from .enforcement import MpsAccess, Rung


class SafeguardError(ValueError):
    """A safeguard that cannot work; the message names it, its value and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Safeguards:
    """How the plugin holds containers to their share and when it trusts a GPU.

    Args:
        enforcement: the best rung of the ladder that may be used; below it, what is proven on each GPU decides.
        cgroup_root: where the cgroup file system of the node is mounted.
        mps_pipe_directory: the MPS control daemon's pipe directory, the same path on the node and here; None: no MPS.
        mps_shm_directory: folder of the node that the daemon has as /dev/shm.
        mps_control: the program that talks to the daemon.
        probe_interval_s: time between two probes of what can be enforced, and of what is.
        overuse_grace_s: how long a container may use more than its share before that is reported.
        overuse_tolerance_mib: how much more is not counted as more.
        evict_overuse: end the pods that are reported, through the Eviction API.
        probation_s: how long a GPU that was unhealthy must be well before it is used again.
        ignored_xids: XIDs that do not make a GPU unhealthy, beside those of applications.

    Raises:
        SafeguardError: a value that cannot work.
    """

    enforcement: Rung = Rung.DRIVER
    cgroup_root: Path = Path("/sys/fs/cgroup")
    mps_pipe_directory: Path | None = None
    mps_shm_directory: Path = Path("/dev/shm")  # noqa: S108 - where MPS keeps its shared memory
    mps_control: str = "nvidia-cuda-mps-control"
    probe_interval_s: float = 30.0
    overuse_grace_s: float = 60.0
    overuse_tolerance_mib: int = 64
    evict_overuse: bool = False
    probation_s: float = 30.0
    ignored_xids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not 0.05 <= self.probe_interval_s <= 3600:
            raise SafeguardError(f"probe_interval_s {self.probe_interval_s}: expected 0.05 to 3600 seconds")
        for what in ("overuse_grace_s", "probation_s"):
            if not 0 <= getattr(self, what) <= 86400:
                raise SafeguardError(f"{what} {getattr(self, what)}: expected 0 to 86400 seconds")
        if not 0 <= self.overuse_tolerance_mib <= 1 << 20:
            raise SafeguardError(f"overuse_tolerance_mib {self.overuse_tolerance_mib}: expected 0 to {1 << 20} MiB")
        if self.mps_pipe_directory is not None and not self.mps_pipe_directory.is_absolute():
            raise SafeguardError(f"mps_pipe_directory {str(self.mps_pipe_directory)!r}: expected an absolute path")
        if any(not 0 <= xid < 1 << 16 for xid in self.ignored_xids):
            raise SafeguardError(
                f"ignored_xids {sorted(self.ignored_xids)}: expected numbers from 0 to {(1 << 16) - 1}"
            )

    @property
    def mps(self) -> MpsAccess | None:
        """How containers reach the MPS daemon, where there is one."""
        if self.mps_pipe_directory is None:
            return None
        return MpsAccess(self.mps_pipe_directory, self.mps_shm_directory)


def parse_xids(text: str) -> frozenset[int]:
    """A comma-separated list of XID numbers.

    Raises:
        SafeguardError: something else than numbers.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    bad = [part for part in found if not (part.isascii() and part.isdigit())]
    if bad:
        raise SafeguardError(f"ignored_xids {text!r}: expected numbers and commas, such as 94,119")
    return frozenset(map(int, found))
