"""Decides which way of holding containers to their share a GPU offers, and says why no better one.

The ways are rungs of a ladder. A GPU stands on the highest rung that was proven on it, and never claims more.
"""

from dataclasses import dataclass

from device_plugin.settings import LADDER, Rung

MPS_CLIENTS_PER_GPU = 48
"""Client processes that one GPU's MPS server takes (Volta to Hopper; https://docs.nvidia.com/deploy/mps)."""


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Why each rung cannot be claimed on one GPU; empty where it was proven there."""

    driver: str = "not tried yet"
    mps: str = "not tried yet"
    watched: str = "not tried yet"

    def to(self, rung: Rung) -> str:
        """Why one rung cannot be claimed; empty for the last one, which always can."""
        return {Rung.DRIVER: self.driver, Rung.MPS: self.mps, Rung.WATCHED: self.watched, Rung.ADVISORY: ""}[rung]


@dataclass(frozen=True, slots=True)
class Standing:
    """The rungs that may be used on one GPU, best first, and why not better ones, in words; the last one always may."""

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
"""The standing of a GPU on which nothing better was proven."""


def standing(obstacles: Obstacles, best: Rung = Rung.DRIVER) -> Standing:
    """The proven rungs of a GPU, without those above `best`, the limit that the admin set."""
    whys = {rung: _why_not(rung, obstacles, best) for rung in LADDER}
    rungs = tuple(rung for rung in LADDER if not whys[rung])
    passed = LADDER[: LADDER.index(rungs[0])]
    return Standing(rungs, "; ".join(f"{rung.value}: {whys[rung]}" for rung in passed))


def _why_not(rung: Rung, obstacles: Obstacles, best: Rung) -> str:
    return "turned off" if LADDER.index(rung) < LADDER.index(best) else obstacles.to(rung)
