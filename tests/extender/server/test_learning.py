"""Weights follow the pods that the watch shows; each counts once, and calls never wait for an estimate."""

from dataclasses import replace

from msgspec import structs

from extender.kube.listing import identity_of
from extender.scheduling.learning.estimating import estimate
from extender.scheduling.ledger.events import NodeChanged, PodChanged, PodRecord, PodsListed
from extender.scheduling.pods.request import PodRequest
from extender.server.learning import KEPT_SEEN, Learning
from extender.server.state.feed import PodSink
from tests.extender.cluster import Cluster
from tests.extender.objects import node, raw
from tests.extender.objects import pod as pod_object
from tests.extender.scheduling.builders import shares


def _pods(first: int, count: int, request: PodRequest) -> list[PodRecord]:
    return [PodRecord(f"uid-{at}", resource_version=at, request=request) for at in range(first, first + count)]


def _cluster() -> Cluster:
    cluster = Cluster(policy="price-fit")
    cluster.state.apply(NodeChanged(cluster.decoder.node(raw(node("a", 16, 16)))))
    return cluster


def test_the_first_round_knows_the_nodes_before_any_pod() -> None:
    """A hole is worth its size, for the GPUs that there are."""
    cluster = _cluster()
    learning = Learning(cluster.state)
    request = replace(shares(5), policy="price-fit")
    before = cluster.state.policy_of(request)
    assert learning.round(force=True) is True
    assert (learning.weights.holes[16][5], learning.weights.reference_units) == (5.0, 16.0)
    assert cluster.state.policy_of(request) != before
    assert cluster.state.policy_of(request).name == before.name


def test_enough_pods_change_the_policy_in_force() -> None:
    """9 units of 16 waste a GPU, so they cost one."""
    cluster = _cluster()
    learning = Learning(cluster.state)
    learning.round(force=True)
    learning.observe(_pods(0, 24, shares(9)))
    assert learning.round(force=False) is False
    learning.observe(_pods(24, 1, shares(9)))
    assert learning.round(force=False) is True
    assert learning.weights.holes[16][9] == 16.0


def test_a_pod_counts_once_however_often_it_is_seen() -> None:
    """Modified, and listed again."""
    learning = Learning(_cluster().state)
    learning.round(force=True)
    for _ in range(3):
        learning.observe(_pods(0, 24, shares(9)))
    assert learning.round(force=False) is False


def test_pods_that_are_there_are_remembered_however_many_went() -> None:
    """So they count once when they are listed again; of those that are gone no more are remembered than of these."""
    cluster = _cluster()
    learning = Learning(cluster.state)
    there = _pods(0, 40, shares(9))
    for pod in there:
        cluster.state.apply(PodChanged(pod))
    learning.observe(there)
    learning.observe(_pods(100, 3 * KEPT_SEEN, shares(9)))
    assert len(learning._seen) == KEPT_SEEN
    learning.round(force=True)
    seen = learning.considered
    learning.observe([structs.replace(pod, resource_version=10_000) for pod in there])
    learning.round(force=True)
    assert learning.considered == seen


def test_as_many_pods_are_remembered_as_there_are() -> None:
    """A cluster may have more than are remembered at least."""
    cluster = _cluster()
    learning = Learning(cluster.state)
    there = _pods(0, 3 * KEPT_SEEN, shares(9))
    for _ in range(2):
        cluster.state.apply(PodsListed(tuple(there), 10_000))
        learning.observe(there)
    learning.round(force=True)
    assert learning.considered == len(there)


def test_pods_without_gpus_teach_nothing() -> None:
    """They are not packed by the extender."""
    learning = Learning(_cluster().state)
    learning.round(force=True)
    learning.observe([PodRecord(f"uid-{at}") for at in range(60)])
    assert learning.round(force=False) is False


def test_the_order_of_a_list_does_not_matter() -> None:
    """Two replicas that list the same pods know the same."""
    pods = [*_pods(0, 60, shares(9)), *_pods(60, 60, shares(5))]
    one, other = Learning(_cluster().state), Learning(_cluster().state)
    one.observe(pods)
    other.observe(reversed(pods))
    one.round(force=True)
    other.round(force=True)
    assert (one.weights.holes, one.weights.typical) == (other.weights.holes, other.weights.typical)


def test_another_mix_of_nodes_is_a_reason_to_estimate() -> None:
    """A new GPU size has no prices yet."""
    cluster = _cluster()
    learning = Learning(cluster.state)
    learning.round(force=True)
    cluster.state.apply(NodeChanged(cluster.decoder.node(raw(node("b", 24)))))
    assert learning.round(force=False) is True
    assert sorted(learning.weights.holes) == [16, 24]


def test_the_watch_feeds_it() -> None:
    """Lists and changes, not deletions."""
    cluster = _cluster()
    learning = Learning(cluster.state)
    sink = PodSink(cluster.state, cluster.decoder, learning.observe)
    learning.round(force=True)
    sink.replaced(
        [sink.read(raw(pod_object(f"p{at}", 9, version=at + 1))) for at in range(24)], (), "50", rewound=False
    )
    sink.deleted(identity_of(raw(pod_object("p-gone", 9, version=60))))
    assert learning.round(force=False) is False
    sink.changed(sink.read(raw(pod_object("p24", 9, version=61))))
    assert learning.round(force=False) is True


def test_weights_come_into_force_when_their_answers_are_there() -> None:
    """Until then calls go on under the policy that they know."""
    cluster = _cluster()
    cluster.hold(pod_object("p0", 4), "a")
    before, weights = cluster.state.policy, estimate({shares(9): 40.0}, cluster.state.shapes())
    assert (cluster.state.prepare(weights, 0), cluster.state.policy) == (False, before)
    assert (cluster.state.prepare(weights, 1), cluster.state.policy != before) == (True, True)
    cluster.hold(pod_object("p1", 4), "a")


def test_it_runs_in_a_thread_of_its_own_until_stopped() -> None:
    """Stopping does not wait for the next look."""
    learning = Learning(_cluster().state)
    learning.start()
    learning.stop(30.0)
    assert not learning._thread.is_alive()
