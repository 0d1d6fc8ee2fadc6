"""Each thing that keeps a node from sharing GPUs is a finding with something to do."""

from dataclasses import replace

import pytest

from device_plugin.doctoring.checks import check_node, version_of
from device_plugin.doctoring.facts import CdiFile, NodeFacts, RuntimeFile
from extender.contract.findings import Finding, Level, worst

GOOD = NodeFacts(
    driver="615.12.03",
    gpus={"GPU-a": ""},
    toolkit="1.20.1",
    runtime_files={"/etc/containerd/config.toml": RuntimeFile(has_nvidia=True, default="nvidia")},
    cdi_files={"/var/run/cdi/nvidia.yaml": CdiFile("nvidia.com/gpu", frozenset({"GPU-a", "0", "all"}))},
    cgroup_version=2,
    mps_problem="",
    mps_servers=1,
    sockets={"/kubelet.sock": "socket"},
)
SOCKET = "/var/lib/kubelet/pod-resources/kubelet.sock"


def about(check: str, facts: NodeFacts) -> list[Finding]:
    """The findings of one check."""
    return [finding for finding in check_node(facts) if finding.check == check]


def test_a_good_node_has_only_good_findings() -> None:
    """One for each thing."""
    findings = check_node(GOOD)
    assert {finding.level for finding in findings} == {Level.OK}
    assert [finding.check for finding in findings] == [
        *("driver", "nvml", "runtime", "toolkit", "cdi", "cgroup", "mps", "kubelet")
    ]


@pytest.mark.parametrize(
    ("check", "change", "level", "words"),
    [
        ("driver", {"driver": ""}, Level.ERROR, "no NVIDIA driver is loaded"),
        ("nvml", {"nvml_problem": "NVML cannot be asked: x"}, Level.ERROR, "NVML cannot be asked: x"),
        ("nvml", {"gpus": {}}, Level.ERROR, "shows no GPU"),
        ("gpu", {"gpus": {"GPU-a": "GPU is lost"}}, Level.WARNING, "GPU-a is not shared: GPU is lost"),
        ("runtime", {"runtime_files": {"/etc/a": RuntimeFile()}}, Level.WARNING, "nvidia is not configured in /etc/a"),
        ("runtime", {"runtime_files": {}}, Level.NOTE, "can be read here"),
        ("toolkit", {"toolkit": "1.19.0"}, Level.WARNING, "1.19.0"),
        ("toolkit", {"toolkit": "1.19.0", "driver": "570.1"}, Level.OK, "1.19.0"),
        ("toolkit", {"toolkit": ""}, Level.NOTE, "not found"),
        ("cdi", {"cdi_files": {}, "strategy": "cdi-cri"}, Level.ERROR, "no CDI specification"),
        ("cdi", {"cdi_files": {}}, Level.NOTE, "envvar needs none"),
        ("cgroup", {"cgroup_version": 1}, Level.NOTE, "cgroup v1"),
        ("cgroup", {"cgroup_version": 0}, Level.NOTE, "no cgroup file system"),
        ("mps", {"mps_problem": None}, Level.NOTE, "not used"),
        ("mps", {"mps_problem": "no MPS control daemon at /x"}, Level.ERROR, "no MPS control daemon at /x"),
        ("kubelet", {"sockets": {"/kubelet.sock": "absent"}}, Level.ERROR, "/kubelet.sock: absent"),
    ],
)
def test_what_is_wrong(check: str, change: dict[str, object], level: Level, words: str) -> None:
    """An error or a warning says what to do."""
    (finding,) = about(check, replace(GOOD, **change))  # type: ignore[arg-type]
    assert (finding.level, words in finding.found) == (level, True), finding
    assert bool(finding.advice) or level in (Level.OK, Level.NOTE)


def test_cdi_needs_no_runtime() -> None:
    """With devices named to the kubelet."""
    (finding,) = about("runtime", replace(GOOD, runtime_files={"/etc/a": RuntimeFile()}, strategy="cdi-cri"))
    assert finding.level is Level.OK


@pytest.mark.parametrize(
    ("files", "strategy", "level", "words"),
    [
        ([RuntimeFile(has_nvidia=True)], "envvar", Level.WARNING, "it is not the default"),
        ([RuntimeFile(has_nvidia=True, default="runc")], "envvar", Level.WARNING, "the default runtime is runc"),
        ([RuntimeFile(has_nvidia=True, default="runc")], "cdi-cri", Level.NOTE, "needs runtimeClassName: nvidia"),
        (
            [RuntimeFile(default="runc"), RuntimeFile(has_nvidia=True, default="nvidia")],
            "envvar",
            Level.OK,
            "the default runtime is nvidia",
        ),
        ([RuntimeFile(has_nvidia=True, default="nvidia-cdi"), RuntimeFile()], "envvar", Level.OK, "is nvidia-cdi"),
    ],
)
def test_an_nvidia_runtime_that_is_not_the_default(
    files: list[RuntimeFile], strategy: str, level: Level, words: str
) -> None:
    """Only containers that ask for it get a GPU; a drop-in overrides the main file."""
    named = {f"/etc/containerd/{number}.toml": file for number, file in enumerate(files)}
    (finding,) = about("runtime", replace(GOOD, runtime_files=named, strategy=strategy))
    assert (finding.level, words in finding.found) == (level, True), finding
    assert ("runtimeClassName: nvidia" in finding.advice) == (level is Level.WARNING)


BY_NUMBER = CdiFile("nvidia.com/gpu", frozenset({"0", "1", "all"}))
BY_UUID = CdiFile("nvidia.com/gpu", frozenset({"GPU-a"}))
OF_OTHERS = CdiFile("example.com/gpu", frozenset({"GPU-a", "GPU-b"}))


@pytest.mark.parametrize(
    ("files", "strategy", "level", "words"),
    [
        ([BY_NUMBER], "cdi-cri", Level.ERROR, "has no device of nvidia.com/gpu named GPU-a, GPU-b"),
        ([BY_NUMBER, BY_UUID], "cdi-cri", Level.ERROR, "named GPU-b"),
        ([BY_NUMBER, OF_OTHERS], "cdi-cri", Level.ERROR, "named GPU-a, GPU-b"),
        ([BY_UUID, CdiFile("nvidia.com/gpu", frozenset({"GPU-b"}))], "cdi-cri", Level.OK, "is described in"),
        ([BY_NUMBER], "envvar", Level.OK, "is described in"),
    ],
)
def test_cdi_names_gpus_as_the_plugin_does(files: list[CdiFile], strategy: str, level: Level, words: str) -> None:
    """By UUID; what nvidia-ctk calls `index` fails each container. A GPU that is not shared needs no device."""
    named = {f"/etc/cdi/{number}.yaml": file for number, file in enumerate(files)}
    gpus = {"GPU-a": "", "GPU-b": "", "GPU-c": "MIG is enabled"}
    (finding,) = about("cdi", replace(GOOD, cdi_files=named, gpus=gpus, strategy=strategy))
    assert (finding.level, words in finding.found) == (level, True), finding
    assert ("--device-name-strategy=uuid" in finding.advice) == (level is Level.ERROR)


@pytest.mark.parametrize(
    ("roots", "words"),
    [
        (("/var/lib/k0s/kubelet",), "devicePlugin.kubeletRoot"),
        (("/var/lib/kubelet", "/var/lib/k0s/kubelet"), "/var/lib/k0s/kubelet/pod-resources"),
        (("/var/lib/kubelet",), "is the kubelet running"),
        ((), "is the kubelet running"),
    ],
)
def test_a_kubelet_with_another_root_folder_is_found(roots: tuple[str, ...], words: str) -> None:
    """Its podresources are there, and only they: the folder of the device plugins does not move."""
    sockets = {"/var/lib/kubelet/device-plugins/kubelet.sock": "absent", SOCKET: "absent"}
    plugins, podresources = about("kubelet", replace(GOOD, sockets=sockets, kubelet_roots=roots))
    assert "is the kubelet running" in plugins.advice
    assert words in podresources.advice
    assert about("kubelet", replace(GOOD, sockets={SOCKET: "socket"}, kubelet_roots=roots))[0].level is Level.OK


@pytest.mark.parametrize(
    ("text", "expected"), [("615.12.03", (615, 12, 3)), ("1.20.1-rc.1", (1, 20, 1)), ("", ()), ("v1", ())]
)
def test_versions(text: str, expected: tuple[int, ...]) -> None:
    """As far as they are numbers."""
    assert version_of(text) == expected


def test_the_worst_level_counts() -> None:
    """Nothing is fine."""
    assert (worst([]), worst([Finding("a", Level.WARNING, "x"), Finding("b", Level.NOTE, "y")])) == (
        Level.OK,
        Level.WARNING,
    )
