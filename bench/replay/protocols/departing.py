"""Replays a steady state: pods drawn from the list arrive at random, live for a random time, and leave.

Arrivals are Poisson, lifetimes exponential with mean 1, and the rate is such that the pods that would run without
rejections ask for `load` times the capacity on average. The cluster starts empty; two lifetimes are left unmeasured, in
which it fills to 86 % of that, then three are measured. No retries.
"""

from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from time import process_time

from bench.replay.deciding.learning import Contender
from bench.replay.results import Result
from bench.replay.setting import PROGRESS_PODS, Progress, Setting, percent
from bench.trace.reading import TraceError

_WARM, _MEASURED = 2.0, 3.0


@dataclass(frozen=True, slots=True)
class Departing:
    """Offered load in parts of the capacity, and how many lifetimes are left unmeasured and measured."""

    load: float
    warm: float = _WARM
    measured: float = _MEASURED

    def replay(self, setting: Setting, contender: Contender, seed: int, progress: Progress) -> Result:
        """Replay one policy with one seed.

        Raises:
            TraceError: no pod of the list asks for a GPU.
        """
        started_s = process_time()
        random = Random(seed)
        mean_milli = sum(pod.demand_milli for pod in setting.pods) / len(setting.pods)
        if not mean_milli:
            raise TraceError("departures: no pod of the list asks for a GPU, expected some")
        rate = self.load * setting.capacity_milli / mean_milli
        run = setting.run(contender, seed)
        leaving: list[tuple[float, str]] = []
        now, end = 0.0, self.warm + self.measured
        before = (0, 0, 0, 0)  # what was counted when the measured part began
        allocated = 0.0  # integral over the measured part
        number = 0
        while now < end:
            number += 1
            pod = random.choice(setting.pods)
            life = random.expovariate(1.0)
            now += random.expovariate(rate)
            while leaving and leaving[0][0] <= now:
                run.leave(heappop(leaving)[1])
            if now >= self.warm and not before[0]:
                before = (run.arrived_pods, run.arrived_milli, run.rejected_pods, run.rejected_milli)
            if run.arrive(str(number), pod) is not None:
                heappush(leaving, (now + life, str(number)))
            if before[0]:
                allocated += run.placed_milli
            if number % PROGRESS_PODS == 0:
                progress(min(1.0, number / (rate * end)))
        run.check()
        pods, milli = run.arrived_pods - before[0], run.arrived_milli - before[1]
        return Result(
            policy=contender.label,
            seed=seed,
            rejected_percent=percent(run.rejected_milli - before[3], milli),
            counts={
                "load": self.load,
                "arrived_pods": pods,
                "rejected_pods": run.rejected_pods - before[2],
                "mean_allocation_percent": percent(allocated / pods, setting.capacity_milli) if pods else 0.0,
                "policies": run.adopted,
            },
            cpu_s=process_time() - started_s,
        )
