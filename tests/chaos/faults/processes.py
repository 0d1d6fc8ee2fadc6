"""Faults of the extender's process and of what is beside it: stops, kills, limits, a full disk, a second scheduler."""

import resource
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.simulated.processes import ModuleProcess
from bench.simulated.starting import Startable
from tests.chaos.faults.disturbances import Disturbance
from tests.chaos.proxy.faults import CarriesOutLate
from tests.chaos.proxy.rules import BINDING, Rule
from tests.chaos.world.cluster import ChaosCluster
from tests.chaos.world.process_use import use_of


class Frozen(Disturbance):
    """The extender is stopped with SIGSTOP, and continues later; a second scheduler with its own extender binds then.

    Args:
        replaced_after_s: when the second one begins: not before what the first has sent has arrived, as a lease has it.
            None: there is no second one.
    """

    def __init__(self, replaced_after_s: float | None = None) -> None:
        self._replaced_after_s = replaced_after_s
        self._second: SecondScheduler | None = None

    def begin(self, cluster: ChaosCluster) -> None:
        """Stop it in the middle of its work."""
        cluster.extender.freeze()

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Let the second one begin, when it is time."""
        if self._second is None and self._replaced_after_s is not None and elapsed_s >= self._replaced_after_s:
            self._second = SecondScheduler(cluster)

    def end(self, cluster: ChaosCluster) -> None:
        """Let it continue as if nothing had been."""
        if self._second is not None:
            self._second.stop()
        cluster.extender.thaw()


class Crowded(Disturbance):
    """Two schedulers, each with its own extender, bind pods to the same nodes at the same time."""

    def __init__(self) -> None:
        self._second: SecondScheduler | None = None

    def begin(self, cluster: ChaosCluster) -> None:
        """Start the second."""
        self._second = SecondScheduler(cluster)

    def end(self, cluster: ChaosCluster) -> None:
        """Stop it."""
        del cluster
        if self._second is not None:
            self._second.stop()


class SecondScheduler:
    """A scheduler and an extender of its own, which reach the API server past the proxy; runs once it is made."""

    def __init__(self, cluster: ChaosCluster) -> None:
        self._extender: ModuleProcess = cluster.new_extender()
        self._extender.start()
        self._scheduler: Startable = cluster.new_scheduler(self._extender)

    def stop(self) -> None:
        """End both, like a leader that has lost its lease: what it has begun it finishes."""
        self._scheduler.stop()
        self._extender.stop()


class Killed(Disturbance):
    """The extender is killed and started again, over and over.

    Args:
        every_s: from one start to the next kill.
        politely: with SIGTERM, else SIGKILL.
        bindings_take_s: Bindings are carried out this much later, so that it is hit in the middle of them.
    """

    def __init__(self, *, every_s: float, politely: bool = False, bindings_take_s: float = 0.0) -> None:
        self._every_s = every_s
        self._politely = politely
        self._bindings_take_s = bindings_take_s
        self._started_s = 0.0

    def begin(self, cluster: ChaosCluster) -> None:
        """Slow the Bindings down, if so ordered."""
        self._started_s = time.monotonic()
        if self._bindings_take_s:
            cluster.proxy.disturb(Rule(CarriesOutLate(self._bindings_take_s), (BINDING,)))

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Kill it when it is time, and start it."""
        del elapsed_s
        if time.monotonic() - self._started_s >= self._every_s:
            if self._politely:
                cluster.extender.stop()
            else:
                cluster.extender.kill()
            cluster.extender.start()
            self._started_s = time.monotonic()

    def end(self, cluster: ChaosCluster) -> None:
        """Let it live."""
        cluster.proxy.heal()


class FewDescriptors(Disturbance):
    """The extender is started with a limit of open files, and has to live with it.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit

    def begin(self, cluster: ChaosCluster) -> None:
        """Start it anew."""
        cluster.replace_extender(prefix=("prlimit", f"--nofile={self._limit}:{self._limit}"))

    def end(self, cluster: ChaosCluster) -> None:
        """It stays so."""


class FewerDescriptors(Disturbance):
    """The extender can open no more files than it has open, for a while."""

    def __init__(self) -> None:
        self._before = (0, 0)

    def begin(self, cluster: ChaosCluster) -> None:
        """Take them away."""
        pid = cluster.extender.pid
        self._before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (use_of(pid).descriptors, self._before[1]))

    def end(self, cluster: ChaosCluster) -> None:
        """Give them back."""
        resource.prlimit(cluster.extender.pid, resource.RLIMIT_NOFILE, self._before)


class FullDisk(Disturbance):
    """The disk that the extender logs to is full: a small file system in memory."""

    def __init__(self) -> None:
        self._filler = Path()

    def begin(self, cluster: ChaosCluster) -> None:
        """Start it with its log and temporary files there, and fill the rest."""
        disk = Path(tempfile.mkdtemp(prefix="disk-", dir=cluster.folder))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
        cluster.at_the_end(lambda: subprocess.run(["umount", "--lazy", str(disk)], check=True))
        cluster.replace_extender(log=disk / "extender.log", environment={"TMPDIR": str(disk)})
        self._filler = disk / "filler"
        with suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(512))

    def end(self, cluster: ChaosCluster) -> None:
        """Make room."""
        del cluster
        self._filler.unlink()


class ClockJumps(Disturbance):
    """The wall clock of the extender jumps, forth and back.

    Args:
        by_s: how far.
        every_s: how often.
    """

    def __init__(self, by_s: int, every_s: float = 1.0) -> None:
        self._by_s = by_s
        self._every_s = every_s
        self._file = Path()
        self._jumps = 0

    def begin(self, cluster: ChaosCluster) -> None:
        """Start it with a clock that can be set."""
        library = build_clock(cluster.folder)
        self._file = cluster.folder / "clock"
        self._file.write_text("0", encoding="ascii")
        cluster.replace_extender(environment={"LD_PRELOAD": str(library), "GPUPACK_CHAOS_CLOCK": str(self._file)})
        self._jumps = 0

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Set it, when it is time."""
        del cluster
        if elapsed_s >= (self._jumps + 1) * self._every_s:
            self._jumps += 1
            self._file.write_text(str(self._by_s * (self._jumps % 2)), encoding="ascii")

    def end(self, cluster: ChaosCluster) -> None:
        """It stays where it is."""


def build_clock(folder: Path) -> Path:
    """Build the library that shifts the wall clock of the program that loads it; its path."""
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"], check=True)
    return library


def no_compiler() -> str:
    """Why the clock cannot be shifted here."""
    return "" if shutil.which("gcc") else "it needs gcc for the library that shifts the clock"


def no_root() -> str:
    """Why a file system cannot be mounted here."""
    probe = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    capabilities = next(int(line.split()[1], 16) for line in probe.splitlines() if line.startswith("CapEff:"))
    return "" if capabilities >> 21 & 1 else "it needs CAP_SYS_ADMIN to mount a small file system"
