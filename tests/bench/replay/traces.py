"""Small synthetic settings for the tests of the replay."""

from datetime import date
from random import Random

from bench.replay.setting import Setting
from bench.trace.synthetic import synthetic_nodes, synthetic_pods
from extender.kubectl.cluster.prices import Price, PriceTable
from extender.scheduling.pods.models import ANY_MODEL

PRICES = PriceTable((Price(ANY_MODEL, 2.0, "made up for tests", date(2026, 1, 1)),))


def setting(*, nodes: int = 12, pods: int = 120, seed: int = 1) -> Setting:
    """A synthetic trace where every GPU costs 2 dollars an hour."""
    random = Random(seed)
    return Setting(tuple(synthetic_nodes(nodes, random)), tuple(synthetic_pods(pods, random)), "relative", PRICES)


def ignore(_: float) -> None:
    """Progress that nobody watches."""
