"""Manifests become pods as the API server and its controllers would make them, or an error that says where."""

import pytest

from extender.capacity.eligibility import Constraints
from extender.capacity.simulating import Wanted
from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.kubectl.manifests import ManifestError, wanted_of

CONTAINER = "{name: main, resources: {limits: {gpupack.io/gpu-mem: 8, cpu: 2}}}"
POD = f"{{containers: [{CONTAINER}], nodeSelector: {{zone: a}}}}"


def _wanted(text: str) -> list[Wanted]:
    return wanted_of(text, names=Names(), unit_mib=UnitMib(1024))


def _made(kind: str, spec: str) -> str:
    return f"{{apiVersion: v1, kind: {kind}, metadata: {{name: x}}, spec: {spec}}}"


@pytest.mark.parametrize(
    ("kind", "spec", "pods"),
    [
        ("Pod", POD, 1),
        ("Deployment", f"{{replicas: 3, template: {{spec: {POD}}}}}", 3),
        ("Deployment", f"{{template: {{spec: {POD}}}}}", 1),
        ("Deployment", f"{{replicas: null, template: {{spec: {POD}}}}}", 1),
        ("Deployment", f"{{replicas: 0, template: {{spec: {POD}}}}}", 0),
        ("ReplicaSet", f"{{replicas: 2, template: {{spec: {POD}}}}}", 2),
        ("StatefulSet", f"{{replicas: 2, template: {{spec: {POD}}}}}", 2),
        ("Job", f"{{parallelism: 4, template: {{spec: {POD}}}}}", 4),
        ("Job", f"{{parallelism: 4, completions: 2, template: {{spec: {POD}}}}}", 2),
        ("Job", f"{{completions: 9, template: {{spec: {POD}}}}}", 1),
        ("CronJob", f"{{jobTemplate: {{spec: {{parallelism: 2, template: {{spec: {POD}}}}}}}}}", 2),
    ],
)
def test_each_kind_makes_so_many_pods(kind: str, spec: str, pods: int) -> None:
    """At a time; with what they ask for, requests completed from limits."""
    (found,) = _wanted(_made(kind, spec))
    assert (found.name, found.pods, found.request.memory_units, found.request.cpu_milli) == (f"{kind}/x", pods, 8, 2000)
    assert found.constraints == Constraints((("zone", "a"),))


def test_documents_and_lists_are_taken_in_order() -> None:
    """Empty documents are nothing; annotations come from the template."""
    template = f"{{metadata: {{annotations: {{gpupack.io/policy: spread}}}}, spec: {POD}}}"
    listed = f"{{kind: List, items: [{_made('Pod', POD)}, {_made('Job', f'{{template: {template}}}')}]}}"
    found = _wanted(f"---\n{_made('Pod', POD)}\n---\n\n---\n{listed}\n")
    assert [(one.name, one.request.policy) for one in found] == [("Pod/x", ""), ("Pod/x", ""), ("Job/x", "spread")]


def test_a_pod_without_gpus_is_simulated_too() -> None:
    """It takes CPU."""
    (found,) = _wanted(_made("Pod", "{containers: [{name: web, resources: {requests: {cpu: 500m}}}]}"))
    assert (found.request.demands, found.request.cpu_milli) == ((), 500)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no document"),
        ("a: [", "document 1: not YAML at line 1"),
        (f"{_made('Pod', POD)}\n---\na: b: c", "document 2: not YAML at line 3"),
        ("- 1", "document 1: [1], expected an object"),
        ("kind: PyTorchJob", "document 1: kind is 'PyTorchJob', expected one of Pod, Deployment"),
        ("metadata: {name: x}", "document 1: kind is missing"),
        ("kind: Pod", "document 1: metadata is missing, expected an object"),
        ("{kind: Pod, metadata: {name: x}}", "document 1 (Pod x): spec is missing, expected an object"),
        ("{kind: List, items: 3}", "document 1: items is 3, expected a list"),
        ("{kind: List, items: [{kind: x}]}", "document 1, item 1: kind is 'x'"),
        (_made("Pod", "{}"), "document 1 (Pod x): spec.containers is missing, expected a list"),
        (_made("Pod", "{containers: [3]}"), "document 1 (Pod x): spec.containers[0] is 3, expected a container"),
        (
            _made("Job", "{parallelism: many}"),
            "document 1 (Job x): spec.parallelism is 'many', expected 0 to 1000000 pods",
        ),
        (_made("Deployment", "{replicas: -1}"), "spec.replicas is -1"),
        (_made("Deployment", "{replicas: true}"), "spec.replicas is True"),
        (_made("Deployment", "{}"), "document 1 (Deployment x): spec.template is missing"),
        (_made("CronJob", "{}"), "document 1 (CronJob x): spec.jobTemplate is missing"),
        (
            _made("Deployment", "{template: {spec: {containers: [{name: 3}]}}}"),
            "document 1 (Deployment x): Expected `str`, got `int` - at `spec.template.spec.containers[0].name`",
        ),
        (
            _made("Pod", "{containers: [{name: a, resources: {limits: {gpupack.io/gpu-mem: 8Gi}}}]}"),
            "document 1 (Pod x): container a: gpu-mem is 8589934592, expected 0 to 1048576 units; ask for a",
        ),
        (
            _made("Pod", "{containers: [{name: a, resources: {requests: {gpupack.io/gpu-mem: 8}}}]}"),
            "spec.containers[0].resources.requests has gpupack.io/gpu-mem 8, limits none; expected the same in limits",
        ),
        (_made("Pod", f"{{nodeName: n1, containers: [{CONTAINER}]}}"), "spec.nodeName is 'n1'"),
        (_made("Pod", "{containers: [{name: a, resources: {limits: 3}}]}"), "spec.containers[0].resources.limits is 3"),
        (_made("Pod", f"{{initContainers: 3, containers: [{CONTAINER}]}}"), "spec.initContainers is 3"),
    ],
)
def test_what_makes_no_sense_says_where(text: str, message: str) -> None:
    """The document, the field, its value and what was expected."""
    with pytest.raises(ManifestError) as caught:
        _wanted(text)
    assert message in str(caught.value)
