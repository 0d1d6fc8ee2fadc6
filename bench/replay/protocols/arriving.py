"""Replays FGD's protocol: pods arrive one at a time, each is tried once, and none leaves.

Weng et al., "Beware of Fragmentation" (USENIX ATC 2023), section 6, and the artifact of the paper.
"""

from dataclasses import dataclass
from time import process_time

from bench.replay.deciding.learning import Contender
from bench.replay.results import ALLOCATION_MARKS, USAGE_MARKS, Result
from bench.replay.setting import PROGRESS_PODS, Progress, Setting, percent
from bench.replay.usage import usage_of
from bench.trace.arrivals import arrivals
from bench.trace.reading import TracePod


@dataclass(frozen=True, slots=True)
class Arriving:
    """How the arrivals are drawn: see `bench.trace.arrivals.arrivals`."""

    shuffled: bool = True
    inflate: float | None = 1.3

    def order(self, setting: Setting, seed: int) -> list[TracePod]:
        """The pods in the order of their arrival."""
        return arrivals(
            setting.pods,
            capacity_milli=setting.capacity_milli,
            seed=seed,
            shuffled=self.shuffled,
            inflate=self.inflate,
        )

    def replay(self, setting: Setting, contender: Contender, seed: int, progress: Progress) -> Result:
        """Replay one policy with one seed."""
        started_s = process_time()
        order = self.order(setting, seed)
        run = setting.run(contender, seed)
        fragmentation = setting.fragmentation()
        ahead = sorted({*ALLOCATION_MARKS, *USAGE_MARKS})
        usage: dict[int, dict[str, float | None]] = {}
        first_failure: float | None = None
        curve = [(0.0, 0.0)]

        def pass_mark() -> None:
            usage[ahead.pop(0)] = usage_of(run, setting.prices, fragmentation, run.arrived_milli).figures()

        for at, pod in enumerate(order):
            placed = run.arrive(str(at), pod) is not None
            arrived = percent(run.arrived_milli, run.capacity_milli)
            if not placed and first_failure is None:
                first_failure = arrived
            while ahead and arrived >= ahead[0]:
                pass_mark()
            if at % PROGRESS_PODS == PROGRESS_PODS - 1 or at == len(order) - 1:
                curve.append((arrived, percent(run.placed_milli, run.capacity_milli)))
                progress((at + 1) / len(order))
        # The demand stops short of the inflated capacity by less than one pod: its mark counts as passed.
        while ahead and self.inflate is not None and ahead[0] <= round(100 * self.inflate):
            pass_mark()
        run.check()
        return Result(
            policy=contender.label,
            seed=seed,
            rejected_percent=percent(run.rejected_milli, run.arrived_milli),
            allocation_percent={
                mark: float(usage[mark]["allocation_percent"] or 0.0) for mark in ALLOCATION_MARKS if mark in usage
            },
            first_failure_percent=first_failure,
            usage={mark: figures for mark, figures in usage.items() if mark in USAGE_MARKS},
            counts={"arrived_pods": run.arrived_pods, "rejected_pods": run.rejected_pods, "policies": run.adopted},
            curve=curve,
            cpu_s=process_time() - started_s,
        )
