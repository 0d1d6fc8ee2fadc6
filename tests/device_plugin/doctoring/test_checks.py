"""Each thing that keeps a node from sharing GPUs is a finding with something to do."""

from dataclasses import replace

import pytest

from device_plugin.doctoring.checks import check_node, version_of
from device_plugin.doctoring.facts import NodeFacts
from extender.contract.findings import Finding, Level, worst

GOOD = NodeFacts(
    driver="615.12.03",
    gpus={"GPU-a": ""},
    toolkit="1.20.1",
    runtime_files={"/etc/containerd/config.toml": True},
    cdi_kinds={"/var/run/cdi/nvidia.yaml": ("nvidia.com/gpu",)},
    cgroup_version=2,
    mps_problem="",
    mps_servers=1,
    sockets={"/kubelet.sock": "socket"},
)


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
        ("gpu", {"gpus": {"GPU-a": "MIG is enabled"}}, Level.WARNING, "GPU-a is not shared: MIG is enabled"),
        ("runtime", {"runtime_files": {"/etc/a": False}}, Level.WARNING, "nvidia is not configured in /etc/a"),
        ("runtime", {"runtime_files": {}}, Level.NOTE, "can be read here"),
        ("toolkit", {"toolkit": "1.19.0"}, Level.WARNING, "1.19.0"),
        ("toolkit", {"toolkit": "1.19.0", "driver": "570.1"}, Level.OK, "1.19.0"),
        ("toolkit", {"toolkit": ""}, Level.NOTE, "not found"),
        ("cdi", {"cdi_kinds": {}, "strategy": "cdi-cri"}, Level.ERROR, "no CDI specification"),
        ("cdi", {"cdi_kinds": {}}, Level.NOTE, "envvar needs none"),
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
    (finding,) = about("runtime", replace(GOOD, runtime_files={"/etc/a": False}, strategy="cdi-cri"))
    assert finding.level is Level.OK


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
