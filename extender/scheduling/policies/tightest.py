"""Best fit among the GPUs of one node: the choice of GPU that most policies share."""

from collections.abc import Sequence

from extender.scheduling.policies.policy import Cost


def tightest(free: Sequence[int], candidates: Sequence[int], units: int) -> list[Cost]:
    """Cost of each candidate: units left on it after `units` (all of it when 0) are taken."""
    if not units:
        return [(0.0,)] * len(candidates)
    return [(float(free[at] - units),) for at in candidates]
