"""Faults of what the extender believes in: a store that goes back in time, certificates and tokens that change."""

from pathlib import Path

from bench.simulated.apiserver.objects.store import Backup
from tests.chaos.faults.disturbances import Disturbance
from tests.chaos.world.cluster import ChaosCluster


class Restored(Disturbance):
    """The API server's store is put back to what it was when the fault began.

    The watchers, the scheduler and the kubelets are started anew then, as after a real restore; the extender is not.

    Args:
        after_s: when it is put back.
        bump: how far above the old revision it begins; 0 is a restore that goes back in revisions too.
    """

    def __init__(self, after_s: float, *, bump: int = 0) -> None:
        self._after_s = after_s
        self._bump = bump
        self._backup: Backup | None = None

    def begin(self, cluster: ChaosCluster) -> None:
        """Take a backup."""
        self._backup = cluster.api.backup()

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Put it back, when it is time."""
        if elapsed_s >= self._after_s and self._backup is not None:
            cluster.api.restore(self._backup, bump=self._bump)
            self._backup = None
            cluster.start_over()

    def end(self, cluster: ChaosCluster) -> None:
        """It stays so."""


class AuthorityChanges(Disturbance):
    """The API server has a certificate of another authority; the extender gets the new authority a moment later.

    Args:
        late_s: how much later.
    """

    def __init__(self, late_s: float = 2.0) -> None:
        self._late_s = late_s
        self._fresh = Path()

    def begin(self, cluster: ChaosCluster) -> None:
        """Change the certificate."""
        self._fresh = cluster.change_certificate()

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Change the file with the authority, when it is time."""
        if elapsed_s >= self._late_s and self._fresh.exists():
            self._fresh.rename(cluster.folder / "ca.crt")

    def end(self, cluster: ChaosCluster) -> None:
        """Make sure of it."""
        self.go_on(cluster, self._late_s)


class TokenChanges(Disturbance):
    """The API server wants another token; the extender's file has it a moment later.

    Args:
        late_s: how much later.
    """

    def __init__(self, late_s: float = 2.0) -> None:
        self._late_s = late_s

    def begin(self, cluster: ChaosCluster) -> None:
        """Ask for another one."""
        cluster.proxy.token += "x"

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Write it, when it is time."""
        if elapsed_s >= self._late_s:
            cluster.write_token()

    def end(self, cluster: ChaosCluster) -> None:
        """Make sure of it."""
        cluster.write_token()
