"""kube-scheduler's own rules are judged as kube-scheduler judges them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.names import Names
from extender.kubectl.cluster.traits import constraints_of, node_traits
from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.diagnosis import diagnose
from extender.kubectl.explaining.rules import rules_against
from tests.extender.kubectl.explaining.kube_scheduler import admits
from tests.extender.kubectl.views import asker, view
from tests.extender.objects import Json, container, node, pod

KEYS = st.sampled_from(["team", "zone"])
VALUES = st.sampled_from(["", "a", "b"])
EFFECTS = st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"])
TAINTS = st.lists(st.fixed_dictionaries({"key": KEYS, "value": VALUES, "effect": EFFECTS}), max_size=2)
TOLERATIONS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"key": KEYS, "operator": st.just("Equal"), "value": VALUES}),
        st.fixed_dictionaries({"key": KEYS, "operator": st.just("Exists"), "effect": EFFECTS}),
        st.just({"operator": "Exists"}),
    ),
    max_size=2,
)
LABELS = st.dictionaries(KEYS, st.sampled_from(["1", "2", "x"]), max_size=2)
REQUIREMENTS = st.one_of(
    st.fixed_dictionaries(
        {
            "key": KEYS,
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(st.sampled_from(["1", "x"]), min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries({"key": KEYS, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
TERMS = st.lists(
    st.fixed_dictionaries({"matchExpressions": st.lists(REQUIREMENTS, min_size=1, max_size=2)}), min_size=1, max_size=2
)


def causes(node_json: Json, pod_json: Json) -> list[Cause]:
    """What keeps the pod `waits` off the node."""
    seen = view([node_json], [pod_json])
    record = seen.find("default", "waits")
    assert record is not None
    name = node_json["metadata"]["name"]
    constraints = constraints_of(seen.pods[record.uid], Names())
    found = rules_against(constraints, record, node_traits(seen.nodes[name]), seen.snapshot.nodes[name])
    assert all(rule.what and rule.help for rule in found)
    return [rule.cause for rule in found]


def affine(terms: list[Json]) -> Json:
    """Required node affinity."""
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


@given(
    taints=TAINTS,
    tolerations=TOLERATIONS,
    labels=LABELS,
    selector=LABELS,
    terms=st.none() | TERMS,
    cordoned=st.booleans(),
)
def test_it_is_open_exactly_where_kube_scheduler_would_let_it_in(
    taints: list[Json],
    tolerations: list[Json],
    labels: dict[str, str],
    selector: dict[str, str],
    terms: list[Json] | None,
    *,
    cordoned: bool,
) -> None:
    """Judged a second time, straight from the JSON."""
    there = node("n", 16, pods="10")
    there["metadata"]["labels"] = labels
    there["spec"] = {"taints": taints, "unschedulable": cordoned}
    body = pod("waits", 4, tolerations=tolerations, nodeSelector=selector)
    if terms is not None:
        body["spec"]["affinity"] = affine(terms)
    assert (not causes(there, body)) == admits(there, body)


def test_a_cordoned_node_is_no_taint_to_the_eye() -> None:
    """Its taint says the same once more; who tolerates it gets in."""
    there = node("n", 16)
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    there["spec"] = {"unschedulable": True, "taints": [taint]}
    assert causes(there, pod("waits", 4)) == [Cause.NODE_CORDONED]
    assert causes(there, pod("waits", 4, tolerations=[{**taint, "operator": "Exists"}])) == []


def test_the_taint_of_cordons_on_a_node_that_is_not_cordoned_is_a_taint() -> None:
    """Somebody set it by hand."""
    there = node("n", 16)
    there["spec"] = {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}
    assert causes(there, pod("waits", 4)) == [Cause.TAINT]


@pytest.mark.parametrize(
    ("requirement", "labels", "fits"),
    [
        ({"key": "gpus", "operator": "Gt", "values": ["4"]}, {"gpus": "8"}, True),
        ({"key": "gpus", "operator": "Gt", "values": ["4"]}, {"gpus": "4"}, False),
        ({"key": "gpus", "operator": "Lt", "values": ["4"]}, {"gpus": "3"}, True),
        ({"key": "gpus", "operator": "Lt", "values": ["4"]}, {"gpus": "many"}, False),
        ({"key": "gpus", "operator": "Gt", "values": ["4"]}, {}, False),
        ({"key": "gpus", "operator": "Around", "values": ["4"]}, {"gpus": "4"}, False),
    ],
)
def test_numbers_in_node_affinity(requirement: Json, labels: dict[str, str], *, fits: bool) -> None:
    """As kube-scheduler compares them: integers, and anything else matches nothing."""
    there = node("n", 16)
    there["metadata"]["labels"] = labels
    waits = pod("waits", 4, affinity=affine([{"matchExpressions": [requirement]}]))
    assert causes(there, waits) == ([] if fits else [Cause.NODE_AFFINITY])


def test_an_empty_term_selects_nothing_and_a_field_is_the_nodes_name() -> None:
    """So does a list without terms."""
    name = {"key": "metadata.name", "operator": "In", "values": ["n"]}
    assert causes(node("n", 16), pod("waits", 4, affinity=affine([{}]))) == [Cause.NODE_AFFINITY]
    assert causes(node("n", 16), pod("waits", 4, affinity=affine([]))) == [Cause.NODE_AFFINITY]
    assert causes(node("n", 16), pod("waits", 4, affinity=affine([{"matchFields": [name]}]))) == []
    assert causes(node("m", 16), pod("waits", 4, affinity=affine([{"matchFields": [name]}]))) == [Cause.NODE_AFFINITY]


@pytest.mark.parametrize(
    ("operator", "there", "tolerated"),
    [("Gt", "95", True), ("Gt", "90", False), ("Lt", "80", True), ("Lt", "x", False)],
)
def test_numbers_in_tolerations(operator: str, there: str, *, tolerated: bool) -> None:
    """Taints of measured values (KEP-5471)."""
    body = node("n", 16)
    body["spec"] = {"taints": [{"key": "sla", "value": there, "effect": "NoSchedule"}]}
    toleration = {"key": "sla", "operator": operator, "value": "90", "effect": "NoSchedule"}
    assert causes(body, pod("waits", 4, tolerations=[toleration])) == ([] if tolerated else [Cause.TAINT])


def test_cpu_and_memory() -> None:
    """By what the pods of the node ask for."""
    there = node("n", 16, cpu="4", memory="8Gi")
    waits = pod("waits", containers=[container("main", 4, cpu="5", memory="9Gi")])
    assert causes(there, waits) == [Cause.HOST_CPU, Cause.HOST_MEMORY]
    assert causes(there, pod("waits", containers=[container("main", 4, cpu="4", memory="8Gi")])) == []


def test_a_node_that_takes_no_more_pods() -> None:
    """Every pod there counts, with GPUs or without."""
    there = node("n", 16, pods="1")
    assert causes(there, pod("waits", 4)) == []
    seen = view([there], [pod("waits", 4), pod("web", node="n")])
    (group,) = diagnose(seen, asker(seen)).groups
    assert (group.cause, group.opens, group.nearest.what) == (Cause.TOO_MANY_PODS, True, "1 pods there, 1 allowed")
