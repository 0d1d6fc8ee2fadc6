"""Manifests become pods as the API server and its controllers would make them, or an error that says where."""

from pathlib import Path

import pytest

from extender.capacity.eligibility import Constraints
from extender.capacity.simulating import Wanted
from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.kubectl.cluster.manifests import Manifest, manifest_of
from extender.kubectl.cluster.pod_templates import TemplateError

EXAMPLES = Path(__file__).parents[4] / "manifests" / "examples"
CONTAINER = "{name: main, resources: {limits: {gpupack.io/gpu-mem: 8, cpu: 2}}}"
POD = f"{{containers: [{CONTAINER}], nodeSelector: {{zone: a}}}}"


def _read(text: str) -> Manifest:
    return manifest_of(text, names=Names(), unit_mib=UnitMib(1024))


def _wanted(text: str) -> tuple[Wanted, ...]:
    return _read(text).wanted


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


def test_a_request_counts_where_limit_and_request_differ() -> None:
    """kube-scheduler looks at requests."""
    resources = "{limits: {gpupack.io/gpu-mem: 8, cpu: 4}, requests: {cpu: 500m}}"
    (found,) = _wanted(_made("Pod", f"{{containers: [{{name: main, resources: {resources}}}]}}"))
    assert (found.request.memory_units, found.request.cpu_milli) == (8, 500)


def test_documents_and_lists_are_taken_in_order() -> None:
    """Empty documents are nothing; annotations come from the template."""
    template = f"{{metadata: {{annotations: {{gpupack.io/policy: spread}}}}, spec: {POD}}}"
    listed = f"{{kind: List, items: [{_made('Pod', POD)}, {_made('Job', f'{{template: {template}}}')}]}}"
    found = _wanted(f"---\n{_made('Pod', POD)}\n---\n\n---\n{listed}\n")
    assert [(one.name, one.request.policy) for one in found] == [("Pod/x", ""), ("Pod/x", ""), ("Job/x", "spread")]


PYTORCH = f"""
kind: PyTorchJob
apiVersion: kubeflow.org/v1
metadata: {{name: train}}
spec:
  pytorchReplicaSpecs:
    Master: {{replicas: 1, template: {{spec: {POD}}}}}
    Worker: {{replicas: 3, template: {{spec: {POD}}}}}
"""
VOLCANO = f"""
kind: Job
apiVersion: batch.volcano.sh/v1alpha1
metadata: {{name: train}}
spec: {{minAvailable: 2, tasks: [{{name: ps, replicas: 2, template: {{spec: {POD}}}}}]}}
"""
JOBSET = f"""
kind: JobSet
apiVersion: jobset.x-k8s.io/v1alpha2
metadata: {{name: train}}
spec:
  replicatedJobs:
    - name: workers
      replicas: 2
      template: {{spec: {{parallelism: 4, template: {{spec: {POD}}}}}}}
"""


@pytest.mark.parametrize(
    ("text", "pods"),
    [
        (PYTORCH, {"PyTorchJob/train Master": 1, "PyTorchJob/train Worker": 3}),
        (VOLCANO, {"Job/train ps": 2}),
        (JOBSET, {"JobSet/train workers": 8}),
    ],
    ids=["PyTorchJob", "Volcano", "JobSet"],
)
def test_operators_kinds_are_read_by_their_templates(text: str, pods: dict[str, int]) -> None:
    """And how they were read is said."""
    found = _read(text)
    assert {one.name: one.pods for one in found.wanted} == pods
    assert "is an operator's kind, read by its pod templates: " in found.notes[0]


def test_objects_that_make_no_pods_are_left_out_and_named() -> None:
    """As the Service beside a Deployment."""
    found = _read(f"{_made('Pod', POD)}\n---\n{{kind: Service, metadata: {{name: llm}}, spec: {{ports: []}}}}")
    assert (len(found.wanted), found.notes) == (1, ("document 2 (Service llm) creates no pods and is left out",))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_the_shipped_examples_can_be_read(file: Path) -> None:
    """Each makes pods that ask for GPUs, or says that it makes none."""
    text = file.read_text(encoding="utf-8")
    try:
        found = _read(text)
    except TemplateError as error:
        assert "no document creates pods" in str(error)  # noqa: PT017 (most do not raise)
        assert "containers:" not in text
    else:
        assert any(one.request.demands for one in found.wanted)


def test_a_pod_without_gpus_is_simulated_too() -> None:
    """It takes CPU."""
    (found,) = _wanted(_made("Pod", "{containers: [{name: web, resources: {requests: {cpu: 500m}}}]}"))
    assert (found.request.demands, found.request.cpu_milli) == ((), 500)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no document creates pods, expected a Pod"),
        ("{kind: Service, metadata: {name: x}, spec: {ports: []}}", "no document creates pods"),
        ("{kind: DaemonSet, metadata: {name: x}}", "document 1 (DaemonSet x): a DaemonSet has a pod on every node"),
        ("a: [", "document 1: not YAML at line 1"),
        (f"{_made('Pod', POD)}\n---\na: b: c", "document 2: not YAML at line 3"),
        ("- 1", "document 1: [1], expected an object"),
        ("kind: 3", "document 1: kind is 3, expected such as Pod"),
        ("metadata: {name: x}", "document 1: kind is missing"),
        ("kind: Pod", "document 1: metadata is missing, expected an object"),
        ("{kind: Pod, metadata: {name: x}}", "document 1 (Pod x): spec is missing, expected an object"),
        ("{kind: List, items: 3}", "document 1: items is 3, expected a list"),
        ("{kind: List, items: [{kind: x}]}", "document 1, item 1: metadata is missing"),
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
        (
            _made("Pod", "{containers: [{name: a, resources: {limits: {gpupack.io/gpumem: 8}}}]}"),
            "document 1 (Pod x): container a: resource gpupack.io/gpumem is not known to gpupack; did you mean",
        ),
        (_made("Pod", f"{{nodeName: n1, containers: [{CONTAINER}]}}"), "spec.nodeName is 'n1'"),
        (_made("Pod", "{containers: [{name: a, resources: {limits: 3}}]}"), "spec.containers[0].resources.limits is 3"),
        (_made("Pod", f"{{initContainers: 3, containers: [{CONTAINER}]}}"), "spec.initContainers is 3"),
    ],
)
def test_what_makes_no_sense_says_where(text: str, message: str) -> None:
    """The document, the field, its value and what was expected."""
    with pytest.raises(TemplateError) as caught:
        _wanted(text)
    assert message in str(caught.value)
