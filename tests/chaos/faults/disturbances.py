"""The faults that a run can have: each begins, goes on, and ends, and what it has done is healed then."""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.chaos.proxy.rules import Rule
from tests.chaos.world.cluster import ChaosCluster


class Disturbance(ABC):
    """One fault of one run."""

    @abstractmethod
    def begin(self, cluster: ChaosCluster) -> None:
        """Let it begin."""

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Called often while it lasts."""
        del cluster, elapsed_s

    @abstractmethod
    def end(self, cluster: ChaosCluster) -> None:
        """Heal it."""


class Rules(Disturbance):
    """The proxy treats requests by rules.

    Args:
        rules: of which the first that fits a request counts.
    """

    def __init__(self, *rules: Rule) -> None:
        self._rules = rules

    def begin(self, cluster: ChaosCluster) -> None:
        """Put them in force."""
        cluster.proxy.disturb(*self._rules)

    def end(self, cluster: ChaosCluster) -> None:
        """Let everything pass."""
        cluster.proxy.heal()


class Away(Disturbance):
    """Nothing listens where the API server was."""

    def begin(self, cluster: ChaosCluster) -> None:
        """Reset what is open, and refuse."""
        cluster.proxy.refuse()

    def end(self, cluster: ChaosCluster) -> None:
        """Take connections again."""
        cluster.proxy.accept()


class Repeated(Disturbance):
    """Something is done again and again.

    Args:
        what: it.
        every_s: the time between.
    """

    def __init__(self, what: Callable[[ChaosCluster], None], every_s: float) -> None:
        self._what = what
        self._every_s = every_s
        self._done = 0

    def begin(self, cluster: ChaosCluster) -> None:
        """Do it for the first time."""
        self._done = 1
        self._what(cluster)

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Do it when it is time."""
        if elapsed_s >= self._done * self._every_s:
            self._done += 1
            self._what(cluster)

    def end(self, cluster: ChaosCluster) -> None:
        """Nothing is left of it."""


@dataclass(frozen=True, slots=True)
class Together(Disturbance):
    """Several at once.

    Args:
        parts: them; they end in the opposite order.
    """

    parts: Sequence[Disturbance]

    def begin(self, cluster: ChaosCluster) -> None:
        """Let all begin."""
        for part in self.parts:
            part.begin(cluster)

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """Let all go on."""
        for part in self.parts:
            part.go_on(cluster, elapsed_s)

    def end(self, cluster: ChaosCluster) -> None:
        """Heal all."""
        for part in reversed(self.parts):
            part.end(cluster)


class Storm(Disturbance):
    """One rule after the other, each for a moment.

    Args:
        rules: them.
        seed: of their order.
        moment_s: how long each is in force.
    """

    def __init__(self, rules: Sequence[Rule], seed: int, moment_s: float = 0.3) -> None:
        self._rules = rules
        self._draws = random.Random(seed)
        self._moment_s = moment_s
        self._number = 0

    def begin(self, cluster: ChaosCluster) -> None:
        """The first one."""
        cluster.proxy.disturb(self._draws.choice(self._rules))

    def go_on(self, cluster: ChaosCluster, elapsed_s: float) -> None:
        """The next one, when it is time."""
        if elapsed_s >= (self._number + 1) * self._moment_s:
            self._number += 1
            cluster.proxy.disturb(self._draws.choice(self._rules))

    def end(self, cluster: ChaosCluster) -> None:
        """Let everything pass."""
        cluster.proxy.heal()


def cut_connections(cluster: ChaosCluster) -> None:
    """Reset every connection of the extender to the API server."""
    cluster.proxy.cut()


def compact(cluster: ChaosCluster) -> None:
    """Let the API server forget its history and the pages of lists, and end the watches, so that all are expired."""
    cluster.api.compact()
    cluster.proxy.cut()


class Paused(Disturbance):
    """The API server answers nobody, kubelets and schedulers included, and goes on with all that came meanwhile."""

    def begin(self, cluster: ChaosCluster) -> None:
        """Stop answering."""
        cluster.api.pause()

    def end(self, cluster: ChaosCluster) -> None:
        """Answer."""
        cluster.api.resume()


def restart_scheduler(cluster: ChaosCluster) -> None:
    """Another scheduler takes over, which knows nothing of the one before."""
    cluster.scheduler.stop()
    cluster.scheduler = cluster.new_scheduler(cluster.extender)


def restart_plugins(cluster: ChaosCluster) -> None:
    """Start the device plugin of every node anew, one after the other."""
    for node in cluster.nodes.values():
        node.plugin.stop()
        node.plugin.start()


def hiccup(cluster: ChaosCluster) -> None:
    """Stop the extender's process for half a second."""
    cluster.extender.freeze()
    time.sleep(0.5)
    cluster.extender.thaw()
