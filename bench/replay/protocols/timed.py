"""Replays the trace's own times, on a cluster cut down so that its GPUs just meet the peak."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import process_time

from bench.replay.deciding.learning import Contender
from bench.replay.results import Result
from bench.replay.setting import PROGRESS_PODS, Progress, Setting, percent
from bench.replay.usage import usage_of
from bench.trace.reading import WHOLE_MILLI, TraceError, TraceNode, TracePod


@dataclass(frozen=True, slots=True)
class Timed:
    """Times of the trace, in seconds; a pod without a deletion time stays to the end."""

    def replay(self, setting: Setting, contender: Contender, seed: int, progress: Progress) -> Result:
        """Replay one policy with one seed.

        Raises:
            TraceError: the list has no times.
        """
        started_s = process_time()
        steps = list(_steps(setting.pods))
        peak_milli = _peak(steps)
        nodes = _enough(setting.ordered_nodes(seed), peak_milli)
        run = setting.run(contender, seed, nodes)
        fragmentation = setting.fragmentation()
        wanted = 0
        at_peak: dict[str, float | None] = {}
        usd_seconds = 0.0
        before_s, usd_per_hour = steps[0][0], 0.0
        placed: set[str] = set()
        for number, (time_s, arrives, uid, pod) in enumerate(steps, start=1):
            usd_seconds += usd_per_hour * (time_s - before_s)
            before_s = time_s
            if arrives:
                wanted += pod.demand_milli
                if run.arrive(uid, pod) is not None:
                    placed.add(uid)
            else:
                wanted -= pod.demand_milli
                if uid in placed:
                    run.leave(uid)
            now = usage_of(run, setting.prices, fragmentation, wanted)
            usd_per_hour = now.usd_per_hour
            if wanted == peak_milli and not at_peak:
                at_peak = now.figures()
            if number % PROGRESS_PODS == 0:
                progress(number / len(steps))
        run.check()
        lasted_s = steps[-1][0] - steps[0][0]
        return Result(
            policy=contender.label,
            seed=seed,
            rejected_percent=percent(run.rejected_milli, run.arrived_milli),
            usage={100: at_peak},
            counts={
                "nodes": len(nodes),
                "gpus": run.capacity_milli / WHOLE_MILLI,
                "peak_gpus": peak_milli / WHOLE_MILLI,
                "arrived_pods": run.arrived_pods,
                "rejected_pods": run.rejected_pods,
                "mean_usd_per_hour": usd_seconds / lasted_s if lasted_s else 0.0,
            },
            cpu_s=process_time() - started_s,
        )


_Step = tuple[int, bool, str, TracePod]


def _steps(pods: Sequence[TracePod]) -> Iterator[_Step]:
    timed = [(number, pod) for number, pod in enumerate(pods) if pod.created_s is not None]
    if not timed:
        raise TraceError("timestamps: no pod has a creation_time, expected some")
    steps: list[tuple[int, bool, int, TracePod]] = []
    for number, pod in timed:
        created_s = pod.created_s or 0
        steps.append((created_s, True, number, pod))
        if pod.deleted_s is not None:
            # A pod that was deleted in the second of its creation stays for one second.
            steps.append((max(created_s + 1, pod.deleted_s), False, number, pod))
    for time_s, arrives, number, pod in sorted(steps, key=lambda step: step[:3]):
        yield time_s, arrives, str(number), pod


def _peak(steps: Sequence[_Step]) -> int:
    wanted = peak = 0
    for _, arrives, _, pod in steps:
        wanted += pod.demand_milli if arrives else -pod.demand_milli
        peak = max(peak, wanted)
    return peak


def _enough(nodes: Sequence[TraceNode], peak_milli: int) -> list[TraceNode]:
    chosen: list[TraceNode] = []
    gpus = 0
    for node in nodes:
        if gpus * WHOLE_MILLI >= peak_milli and chosen:
            break
        chosen.append(node)
        gpus += node.gpus
    return chosen
