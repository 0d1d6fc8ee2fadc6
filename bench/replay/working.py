"""Runs the replays of one command, policy by seed, on one or more processes, and reports their progress."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

from bench.replay.bound import BOUND, replay_bound
from bench.replay.deciding.learning import Contender
from bench.replay.protocols.arriving import Arriving
from bench.replay.results import Result
from bench.replay.setting import Progress, Setting

_POLL_S = 0.5


class ReplayProtocol(Protocol):
    """How pods come and go."""

    def replay(self, setting: Setting, contender: Contender, seed: int, progress: Progress) -> Result:
        """Replay one policy with one seed."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """One replay; without a contender it is the bound."""

    protocol: ReplayProtocol
    contender: Contender | None
    seed: int

    @property
    def label(self) -> str:
        """The policy, as asked for."""
        return self.contender.label if self.contender else BOUND

    def run(self, setting: Setting, progress: Progress) -> Result:
        """Run it to its end."""
        if self.contender is not None:
            return self.protocol.replay(setting, self.contender, self.seed, progress)
        if not isinstance(self.protocol, Arriving):
            raise TypeError("the bound is for arrivals without departures")
        return replay_bound(setting, self.protocol, self.seed, progress)


def run_all(
    setting: Setting, tasks: Sequence[Task], *, processes: int, progress: Callable[[float], None]
) -> list[Result]:
    """The results in the order of `tasks`; `progress` is called with the part of all of them that is done."""
    if processes == 1 or len(tasks) == 1:
        return [task.run(setting, _Part(progress, at, len(tasks))) for at, task in enumerate(tasks)]
    context = multiprocessing.get_context("spawn")
    parts = context.Array("d", len(tasks))
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(setting, parts)) as pool:
        futures = [pool.submit(_work, task, at) for at, task in enumerate(tasks)]
        pending: set[Future[Result]] = set(futures)
        try:
            while pending:
                done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                progress(sum(parts[:]) / len(tasks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


@dataclass(frozen=True, slots=True)
class _Part:
    """The progress of one task as progress of all."""

    progress: Callable[[float], None]
    done: int
    tasks: int

    def __call__(self, part: float) -> None:
        self.progress((self.done + part) / self.tasks)


class _Worker:
    """What a worker process was given when it began: the setting, and an array of each task's progress."""

    setting: Setting
    parts: Any


def _begin(*given: Any) -> None:
    _Worker.setting, _Worker.parts = given
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task, at: int) -> Result:
    parts = _Worker.parts

    def progress(part: float) -> None:
        parts[at] = part

    result = task.run(_Worker.setting, progress)
    progress(1.0)
    return result
