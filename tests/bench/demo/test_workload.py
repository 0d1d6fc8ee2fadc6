"""The demo's stream of pods is the same for the same seed, and every pod fits somewhere."""

from bench.demo.exclusive import on_whole_gpus
from bench.demo.workload import NODES, stream
from extender.kubectl.cluster.prices import load_prices


def test_a_seed_gives_one_stream_in_order_of_arrival() -> None:
    """Repeatable, and different for another seed."""
    pods = stream(7, 40.0)
    assert pods == stream(7, 40.0)
    assert pods != stream(8, 40.0)
    assert [pod.arrives_s for pod in pods] == sorted(pod.arrives_s for pod in pods)
    assert {pod.workload for pod in pods} == {"inference", "notebook", "trial", "training"}


def test_every_pod_alone_could_run_on_whole_gpus_of_the_cluster() -> None:
    """A pod that fits nowhere would count against whole GPUs for nothing."""
    prices = load_prices()
    for pod in stream(7, 40.0):
        assert on_whole_gpus([pod], NODES, prices, 40.0).ran == 1
