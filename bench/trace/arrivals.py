"""Draws the order in which the pods of a list arrive, by FGD's protocol; the same seed gives the same arrivals."""

from collections.abc import Sequence
from random import Random

from bench.trace.reading import TracePod


def arrivals(
    pods: Sequence[TracePod], *, capacity_milli: int, seed: int, shuffled: bool = True, inflate: float | None = 1.3
) -> list[TracePod]:
    """The pods in the order of their arrival.

    Args:
        pods: the list.
        capacity_milli: thousandths of GPUs that the cluster has.
        seed: of the shuffle and of the clones.
        shuffled: False keeps the order of the list.
        inflate: append clones of pods drawn from the list until the demand would pass this many capacities, or take
            pods out where the list alone does; None takes the list as it is.
    """
    random = Random(seed)
    order = list(pods)
    if shuffled:
        random.shuffle(order)
    if inflate is None:
        return order
    limit = inflate * capacity_milli
    demand = sum(pod.demand_milli for pod in order)
    while demand > limit:
        demand -= order.pop(random.randrange(len(order))).demand_milli
    if not demand:
        return order  # nothing asks for GPUs: clones would never end
    while True:
        clone = pods[random.randrange(len(pods))]
        demand += clone.demand_milli
        if demand > limit:
            return order
        order.append(clone)
