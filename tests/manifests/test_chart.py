"""The Helm chart installs what the kustomizations install, with any options, and follows its values."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from extender.scheduling.policies.table import POLICIES
from manifests.charting.chart import DEFAULT, SECOND, VARIANTS
from manifests.charting.rendering import HASHED, Key, rendered
from tests.e2e.binaries import Binaries, find_binaries

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "manifests" / "chart"
NAMESPACE = "gpupack-system"
VERSION = "1.36.3"
TIMEOUT_S = 200

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
Objects = dict[Key, dict[str, Any]]


@pytest.fixture(scope="module")
def kubectl() -> str:
    """The kubectl that renders the kustomizations."""
    found = find_binaries()
    if not isinstance(found, Binaries):
        pytest.skip(found)
    return str(found.kubectl)


def chart(programs: Path, *options: str, namespace: str = NAMESPACE, version: str = VERSION) -> Objects:
    """What the chart renders with some `--set` options."""
    command = [
        str(programs / "helm"),
        "template",
        "gpupack",
        str(CHART),
        f"--namespace={namespace}",
        f"--kube-version={version}",
    ]
    sets = [f"--set={option}" for option in options]
    done = subprocess.run([*command, *sets], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert len(found) == len(objects)
    return found


def comparable(objects: Objects) -> Objects:
    """Without the necessary differences: the namespace, and the checksum instead of a hash."""
    found = copy.deepcopy({key: each for key, each in objects.items() if key[0] != "Namespace"})
    for each in found.values():
        template = each.get("spec", {}).get("template", {}).get("metadata", {})
        template.get("annotations", {}).pop("checksum/config", None)
        data = each.get("data", {})
        for name, text in data.items():
            # Comments and the order of a file's keys are for people.
            data[name] = yaml.safe_load(text) if each["kind"] == "ConfigMap" else text
    return found


def unordered(found: Any) -> Any:
    """Lists of environment, mounts and volumes by name: options that are on together add theirs in any order."""
    if isinstance(found, dict):
        return {key: unordered(each) for key, each in found.items()}
    if isinstance(found, list):
        return sorted((unordered(each) for each in found), key=repr)
    return found


def test_what_is_written_from_the_manifests_is_up_to_date(kubectl: str) -> None:
    """Otherwise `make chart` was forgotten."""
    command = [sys.executable, "-m", "manifests.charting", "--check", f"--kubectl={kubectl}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_defaults_are_the_second_scheduler(programs: Path, kubectl: str) -> None:
    """Object by object, field by field."""
    assert comparable(chart(programs)) == comparable(rendered(kubectl, [SECOND]))


def test_without_a_scheduler_it_is_what_belongs_beside_the_control_planes_own(programs: Path, kubectl: str) -> None:
    """Rights, token and device plugins."""
    assert comparable(chart(programs, "scheduler.enabled=false")) == comparable(rendered(kubectl, [DEFAULT]))


@pytest.mark.parametrize("option", VARIANTS)
def test_an_option_is_the_overlay_or_component_of_its_name(programs: Path, kubectl: str, option: str) -> None:
    """As kustomize renders it."""
    found = chart(programs, f"{option.removeprefix('.Values.')}=true")
    assert comparable(found) == comparable(rendered(kubectl, *VARIANTS[option]))


def test_options_can_be_on_together(programs: Path, kubectl: str) -> None:
    """Each option adds its own part."""
    components = ["mps", "driver-limits", "evict-overuse", "mig", "set-scheduler-name"]
    options = ("mps", "driverLimits", "evictOveruse", "mig", "setSchedulerName")
    found = chart(programs, *(f"{name}.enabled=true" for name in options))
    assert unordered(comparable(found)) == unordered(comparable(rendered(kubectl, [SECOND], components)))


def test_everything_is_in_the_releases_namespace(programs: Path) -> None:
    """Also where a policy or a configuration names it."""
    found = chart(programs, "monitoring.enabled=true", namespace="gpus")
    assert NAMESPACE not in yaml.safe_dump(list(found.values()))
    namespaces = {each["metadata"].get("namespace") for each in found.values()}
    assert namespaces == {"gpus", "kube-system", None}


def test_values_reach_the_programs(programs: Path) -> None:
    """Images, options, names."""
    found = chart(
        programs,
        "images.extender=registry.example/extender:2",
        "images.devicePlugin=registry.example/plugin:2",
        "images.kubeScheduler=registry.example/kube-scheduler:3",
        "imagePullSecrets[0].name=pull",
        "memoryUnitMib=512",
        "extender.policy=binpack",
        "extender.extraArgs[0]=--placement=scored",
        "devicePlugin.extraArgs[0]=--device-list-strategy=cdi-cri",
        "devicePlugin.runtimeClassName=nvidia",
        "devicePlugin.kubeletRoot=/var/lib/k0s/kubelet",
        "scheduler.schedulerName=gpus",
        "scheduler.replicas=3",
    )
    deployment = found["Deployment", "gpupack-scheduler"]["spec"]
    kube_scheduler, extender = deployment["template"]["spec"]["containers"]
    pod = found["DaemonSet", "gpupack-device-plugin"]["spec"]["template"]["spec"]
    (plugin,) = pod["containers"]
    images = [each["image"] for each in (kube_scheduler, extender, plugin)]
    assert images == [f"registry.example/{name}" for name in ("kube-scheduler:3", "extender:2", "plugin:2")]
    assert extender["args"][2:] == [
        "--scheduler-name=gpus",
        "--memory-unit-mib=512",
        "--policy=binpack",
        "--placement=scored",
    ]
    assert plugin["args"][4:] == ["--memory-unit-mib=512", "--device-list-strategy=cdi-cri"]
    assert pod["imagePullSecrets"] == deployment["template"]["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert (pod["runtimeClassName"], deployment["replicas"]) == ("nvidia", 3)
    # The kubelet's folder for device plugins stays where it is, and so do both folders in the container.
    folders = {each["name"]: each["hostPath"]["path"] for each in pod["volumes"]}
    assert folders == {
        "device-plugins": "/var/lib/kubelet/device-plugins",
        "pod-resources": "/var/lib/k0s/kubelet/pod-resources",
        "dev": "/dev",
    }
    config = yaml.safe_load(found["ConfigMap", "gpupack-scheduler-config"]["data"]["config.yaml"])
    assert config["profiles"] == [{"schedulerName": "gpus"}]


def test_every_pod_that_needs_the_driver_gets_it(programs: Path) -> None:
    """The MPS daemon as the device plugin, where the NVIDIA runtime is not the default; from the same registry."""
    options = ("mps.enabled=true", "devicePlugin.runtimeClassName=nvidia", "imagePullSecrets[0].name=pull")
    found = chart(programs, *options)
    pods = {name: each["spec"]["template"]["spec"] for (kind, name), each in found.items() if kind == "DaemonSet"}
    assert {name: (pod["runtimeClassName"], pod["imagePullSecrets"]) for name, pod in pods.items()} == dict.fromkeys(
        ("gpupack-device-plugin", "gpupack-mps"), ("nvidia", [{"name": "pull"}])
    )


@pytest.mark.parametrize("keys", [[], ["example.com/gpus"], ["example.com/gpus", "example.com/more"]])
def test_startup_taints_are_removed_and_may_be(programs: Path, keys: list[str]) -> None:
    """The plugin and the policy that restricts it have the same keys."""
    options = [f"devicePlugin.startupTaints[{number}]={key}" for number, key in enumerate(keys)]
    found = chart(programs, *(options or ["devicePlugin.startupTaints=null"]))
    (plugin,) = found["DaemonSet", "gpupack-device-plugin"]["spec"]["template"]["spec"]["containers"]
    text = next(each["value"] for each in plugin["env"] if each["name"] == "GPUPACK_STARTUP_TAINT")
    assert text == " ".join(keys)
    variables = found["ValidatingAdmissionPolicy", "gpupack-agents"]["spec"]["variables"]
    (allowed,) = (each["expression"] for each in variables if each["name"] == "startupTaints")
    assert allowed == f"'{text}'.split(' ')"


def test_the_schedulers_name_is_the_one_that_pods_are_told_and_given(programs: Path) -> None:
    """Also where it is not gpupack's own."""
    checks = chart(programs, "scheduler.schedulerName=gpus")["ValidatingAdmissionPolicy", "gpupack-scheduler-name"]
    sentence = checks["spec"]["validations"][0]["messageExpression"]
    assert "write schedulerName: gpus into" in sentence
    assert "gpupack-scheduler" not in sentence
    options = ("scheduler.schedulerName=gpus", "setSchedulerName.enabled=true")
    found = chart(programs, *options)
    sets = found["MutatingAdmissionPolicy", "gpupack-scheduler-name"]["spec"]["mutations"][0]
    assert sets["applyConfiguration"]["expression"] == "Object{spec: Object.spec{schedulerName: 'gpus'}}"
    assert ("ValidatingAdmissionPolicy", "gpupack-scheduler-name") not in found


def test_nothing_sets_the_name_of_a_scheduler_that_is_not_installed(programs: Path) -> None:
    """Its pods would wait for ever."""
    found = chart(programs, "scheduler.enabled=false", "setSchedulerName.enabled=true")
    assert [name for kind, name in found if name == "gpupack-scheduler-name"] == []


@pytest.mark.parametrize(
    ("version", "tag"), [("1.33.4", "v1.33.4"), ("v1.33.4-gke.1036000", "v1.33.4"), ("v1.34.1-eks-113cf36", "v1.34.1")]
)
def test_kube_scheduler_is_that_of_the_cluster(programs: Path, version: str, tag: str) -> None:
    """Managed clusters add words of their own to the version."""
    containers = chart(programs, version=version)["Deployment", "gpupack-scheduler"]["spec"]["template"]["spec"]
    assert containers["containers"][0]["image"] == f"registry.k8s.io/kube-scheduler:{tag}"


def test_another_configuration_starts_other_pods(programs: Path) -> None:
    """As the hash in the name does with kustomize."""

    def checksum(*options: str) -> str:
        spec = chart(programs, *options)["Deployment", "gpupack-scheduler"]["spec"]
        found: str = spec["template"]["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum() == checksum("scheduler.replicas=3") != checksum("scheduler.schedulerName=gpus")


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        ("admissionPolicies", {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}),
        ("networkPolicy", {"NetworkPolicy"}),
        ("resourceQuota", {"ResourceQuota"}),
    ],
)
def test_what_a_cluster_has_no_use_for_can_be_left_out(programs: Path, value: str, kinds: set[str]) -> None:
    """Nothing else is removed with it."""
    left, everything = chart(programs, f"{value}.enabled=false"), chart(programs)
    assert {kind for kind, _ in everything.keys() - left.keys()} == kinds
    assert {key: everything[key] for key in left} == left


def test_an_old_cluster_is_refused(programs: Path) -> None:
    """By Helm, with the version that is needed."""
    command = [str(programs / "helm"), "template", "gpupack", str(CHART), "--kube-version=1.29.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert "chart requires kubeVersion: >=1.30.0-0" in done.stderr


def test_helm_finds_no_fault(programs: Path) -> None:
    """With every option on."""
    on = [f"--set={option.removeprefix('.Values.')}=true" for option in VARIANTS]
    command = [str(programs / "helm"), "lint", "--strict", str(CHART), *on]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout


def test_names_have_no_hash_of_kustomize() -> None:
    """A ConfigMap that changes keeps its name in a chart."""
    texts = [path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir()]
    assert [text for text in texts if HASHED.search(text)] == []


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("scheduler.replica=3", "at '/scheduler': additional properties 'replica' not allowed"),
        ("memoryUnitMib=100", "at '/memoryUnitMib': value must be one of 1024, 512, 256"),
        ("scheduler.replicas=0", "at '/scheduler/replicas': minimum: got 0, want 1"),
        ("extender.policy=best", "at '/extender/policy': value must be one of '', 'binpack'"),
    ],
)
def test_a_mistyped_value_is_refused(programs: Path, option: str, sentence: str) -> None:
    """By Helm, before anything is installed."""
    command = [str(programs / "helm"), "template", "gpupack", str(CHART), f"--set={option}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert (sentence in done.stderr, done.returncode) == (True, 1), done.stderr


def test_the_schema_knows_every_value_and_every_policy() -> None:
    """And no value that does not exist."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(schema["properties"]) == {"global", *values}
    for name, found in schema["properties"].items():
        if "properties" in found:
            assert set(found["properties"]) == set(values[name]), name
    assert schema["properties"]["extender"]["properties"]["policy"]["enum"] == ["", *POLICIES]


def test_every_component_and_overlay_is_an_option() -> None:
    """Helm has the same default as kustomize."""
    manifests = CHART.parent
    folders = {folder for wanted, _ in VARIANTS.values() for folder in wanted} | {SECOND, DEFAULT}
    assert folders == {f"overlays/{path.name}" for path in (manifests / "overlays").iterdir()} | {"dashboards"}
    components = [name for _, wanted in VARIANTS.values() for name in wanted]
    assert sorted(components) == sorted(path.name for path in (manifests / "components").iterdir())
