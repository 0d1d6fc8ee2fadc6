"""Runs a row of the matrix: load, fault, rest, and what was seen."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.simulated.waiting import wait_until
from tests.chaos import judging
from tests.chaos.faults.matrix import ROWS, Row
from tests.chaos.world.cluster import GPU_UNITS, ChaosCluster
from tests.chaos.world.control import Control
from tests.chaos.world.load import Load, LoadSettings
from tests.chaos.world.picturing import take_picture
from tests.chaos.world.process_use import ProcessUse, use_of

_STEP_S = 0.05
_WARM_UP_S = 3.0
_FULL = 0.75


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one run has shown; `problems` is empty when all was well.

    `slowest_bind_s` and `rest_s` count from the end of the fault; `use` is the extender's after it. `fates`, `double`
    and `warnings` count from the start of the cluster, earlier repeats included.
    """

    row: str
    seed: int
    repeat: int
    seconds: float
    fates: Counter[str]
    slowest_bind_s: float
    rest_s: float
    double: int
    warnings: Counter[str]
    use: str
    problems: tuple[str, ...] = field(default_factory=tuple)

    def line(self) -> str:
        """All of it in one line, the problems below."""
        seen = ", ".join(f"{reason} {count}" for reason, count in sorted(self.warnings.items())) or "none"
        fates = self.fates
        parts = [
            f"{self.row} seed {self.seed}.{self.repeat}: {self.seconds:g} s",
            f"{fates['created']} pods, {fates['ever bound']} bound, {fates['waiting']} waiting, {fates['lost']} lost",
            f"slowest bind after it {self.slowest_bind_s:.1f} s, at rest after {self.rest_s:.1f} s",
            f"given twice {self.double}, rejected {fates['rejected']}",
            f"Warnings: {seen}",
            self.use,
        ]
        return "; ".join(parts) + "".join(f"\n    PROBLEM {problem}" for problem in self.problems)


def run_row(row: Row, seed: int, repeats: int = 1, control: Control | None = None) -> Iterator[RunReport]:
    """Run a row so many times on one cluster, simulated unless a control plane is given, and report each time.

    Raises:
        TimeoutError: the cluster did not come up or did not fill.
    """
    with ChaosCluster(row.shape, seed, control) as cluster:
        settings = LoadSettings(cluster.shape.units, GPU_UNITS)
        load = Load(cluster.client, settings, seed, cluster.stories)
        base: ProcessUse | None = None
        for repeat in range(repeats):
            report, use = _run_once(row, seed, repeat, cluster, load, base)
            # What the first run brings (threads of a pool, kept connections) may stay.
            base = base or use
            yield report


def run_named(name: str, seed: int, repeats: int) -> list[RunReport]:
    """As `run_row`, by the row's name, so that another process can be told of it.

    Raises:
        StopIteration: there is no such row.
        TimeoutError: as `run_row`.
    """
    return list(run_row(next(row for row in ROWS if row.name == name), seed, repeats))


def _run_once(  # noqa: PLR0917 - the state of the repeats
    row: Row, seed: int, repeat: int, cluster: ChaosCluster, load: Load, base: ProcessUse | None
) -> tuple[RunReport, ProcessUse]:
    load.start()
    _wait_full(cluster)
    before = base or use_of(cluster.extender.pid)
    disturbance = row.make(seed + repeat)
    began_s = time.monotonic()
    disturbance.begin(cluster)
    while (elapsed_s := time.monotonic() - began_s) < row.seconds:
        disturbance.go_on(cluster, elapsed_s)
        time.sleep(_STEP_S)
    disturbance.end(cluster)
    load.stop()
    healed_s = time.monotonic()
    rest_s, problems = judging.settle(cluster, healed_s, row.within_s)
    waiting = len(take_picture(cluster.client).pending())
    slowest_s = judging.slowest_bind_s(cluster, healed_s)
    problems += _second_wave(cluster, load, row.within_s)
    violations = [
        found
        for found in cluster.violations()
        if not (found.kind.startswith("planned over") and "planned" in row.tolerates)
    ]
    problems += [f"{found.kind} on {found.node}, {found.pod}: {found.detail}" for found in violations]
    fates = judging.fates(cluster, load)
    fates["waiting"] = waiting
    problems += [
        f"{fates[kind]} pods {kind}" for kind in ("lost", "rejected") if fates[kind] and kind not in row.tolerates
    ]
    if "rejected" not in row.tolerates:
        problems += judging.rejections(cluster)
    problems += [f"traceback in the log: {line}" for line in judging.tracebacks(cluster.log)]
    use = use_of(cluster.extender.pid)
    problems += judging.leaks(before, use, judging.FIRST_RUN if base is None else judging.LATER_RUNS)
    report = RunReport(
        row=row.name,
        seed=seed,
        repeat=repeat,
        seconds=row.seconds,
        fates=fates,
        slowest_bind_s=slowest_s,
        rest_s=rest_s,
        double=sum(1 for found in violations if "over capacity" in found.kind),
        warnings=judging.warnings(cluster.client),
        use=str(use),
        problems=tuple(problems),
    )
    return report, use


def _wait_full(cluster: ChaosCluster) -> None:
    """Wait until most of the cluster is in use, or what is left is too small for what waits."""

    def full() -> bool:
        usage = take_picture(cluster.client).usage
        return sum(sum(node.values()) for node in usage.values()) >= _FULL * cluster.shape.units

    began_s = time.monotonic()
    wait_until(full, "the cluster to be nearly full", timeout_s=60)
    time.sleep(max(0.0, _WARM_UP_S - (time.monotonic() - began_s)))


def _second_wave(cluster: ChaosCluster, load: Load, within_s: float) -> list[str]:
    """Make room: what waited for it must get it."""
    load.delete_bound()
    since_s = time.monotonic()
    _, problems = judging.settle(cluster, since_s, within_s)
    return [f"after room was made: {problem}" for problem in problems]
