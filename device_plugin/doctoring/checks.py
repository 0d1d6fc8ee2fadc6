"""Judges the facts about one machine: driver, NVML, container runtime, CDI, cgroups, MPS, sockets and rights."""

import re
from collections.abc import Iterator

from device_plugin.doctoring.facts import NodeFacts, Rights
from device_plugin.doctoring.mig_checks import check_mig
from device_plugin.doctoring.runtime_checks import check_cdi, check_runtime
from device_plugin.gpus.gpu import NO_ANSWER
from extender.contract.findings import Finding, Level

_LIMITS_DRIVER = 615
_LIMITS_TOOLKIT = (1, 20, 1)
_PODRESOURCES = "pod-resources/kubelet.sock"
_MOVED = (
    "the kubelet's root folder is {root}: give it to the chart as devicePlugin.kubeletRoot, or set the hostPath of the "
    "DaemonSet's volume pod-resources to {root}/pod-resources (docs/install.md)"
)


def check_node(facts: NodeFacts) -> list[Finding]:
    """Every finding, in the order in which parts depend on each other."""
    return [
        _driver(facts),
        _nvml(facts),
        *_gpus(facts),
        *check_mig(facts),
        check_runtime(facts),
        _toolkit(facts),
        check_cdi(facts),
        _cgroup(facts),
        _mps(facts),
        *_sockets(facts),
    ]


def check_rights(rights: Rights) -> Finding:
    """Whether the plugin may do what it needs to do at the API server."""
    if rights.unreachable:
        advice = "check --kubeconfig, or the service account and the network of this pod"
        return Finding("api server", Level.ERROR, rights.unreachable, advice)
    if rights.problem:
        return Finding("rbac", Level.WARNING, f"rights are not known: {rights.problem}")
    if rights.denied:
        advice = "apply manifests/base/device-plugin-rbac.yaml; the doctor asks with its own identity"
        return Finding("rbac", Level.ERROR, f"not allowed: {', '.join(rights.denied)}", advice)
    return Finding("rbac", Level.OK, "the plugin has every right that it needs")


def version_of(text: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version, `615.12.03-rc` is (615, 12, 3); empty where there are none."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()


def _driver(facts: NodeFacts) -> Finding:
    if not facts.driver:
        advice = "install the NVIDIA driver on this node (or let the GPU operator do it), then reboot"
        return Finding("driver", Level.ERROR, "no NVIDIA driver is loaded", advice)
    return Finding("driver", Level.OK, f"NVIDIA driver {facts.driver}")


def _nvml(facts: NodeFacts) -> Finding:
    if facts.nvml_problem:
        advice = (
            "run the plugin with the nvidia runtime, NVIDIA_VISIBLE_DEVICES=all and "
            "NVIDIA_DRIVER_CAPABILITIES=utility, so that libnvidia-ml.so.1 is in its container"
        )
        if NO_ANSWER in facts.nvml_problem:
            advice = (
                "the driver hangs: look for NVRM and Xid lines in `dmesg`, and for processes in state D in `ps`; "
                "if it lasts, drain the node and reboot it"
            )
        return Finding("nvml", Level.ERROR, facts.nvml_problem, advice)
    if not facts.gpus:
        advice = "compare with `nvidia-smi -L` on the node; look for NVRM lines in `dmesg`"
        return Finding("nvml", Level.ERROR, "NVML answers but shows no GPU", advice)
    return Finding("nvml", Level.OK, f"{len(facts.gpus)} GPUs")


def _gpus(facts: NodeFacts) -> Iterator[Finding]:
    split = {each.uuid for each in facts.mig if each.is_on}
    for uuid, problem in facts.gpus.items():
        if problem and uuid not in split:
            advice = "compare with `nvidia-smi -q` on the node; look for NVRM lines in `dmesg`"
            yield Finding("gpu", Level.WARNING, f"GPU {uuid} is not shared: {problem}", advice)


def _toolkit(facts: NodeFacts) -> Finding:
    if not facts.toolkit:
        advice = "run the doctor on the host; if it is missing there too, install nvidia-container-toolkit"
        return Finding("toolkit", Level.NOTE, "nvidia-ctk was not found here", advice)
    driver = version_of(facts.driver)
    if driver and driver[0] >= _LIMITS_DRIVER and version_of(facts.toolkit) < _LIMITS_TOOLKIT:
        advice = "update it to 1.20.1 or newer: it then sets the driver's memory limits when a container starts"
        return Finding("toolkit", Level.WARNING, f"nvidia-container-toolkit {facts.toolkit}", advice)
    return Finding("toolkit", Level.OK, f"nvidia-container-toolkit {facts.toolkit}")


def _cgroup(facts: NodeFacts) -> Finding:
    if facts.cgroup_version == 2:
        return Finding("cgroup", Level.OK, "cgroup v2")
    what = "no cgroup file system was found" if not facts.cgroup_version else "cgroup v1"
    return Finding("cgroup", Level.NOTE, f"{what}; the driver's memory limits need cgroup v2")


def _mps(facts: NodeFacts) -> Finding:
    if facts.mps_problem is None:
        return Finding("mps", Level.NOTE, "MPS is not used", "")
    if facts.mps_problem:
        advice = "check the gpupack-mps pod of this node (manifests/components/mps), or unset --mps-pipe-directory"
        return Finding("mps", Level.ERROR, facts.mps_problem, advice)
    return Finding("mps", Level.OK, f"the MPS control daemon answers; {facts.mps_servers} servers")


def _sockets(facts: NodeFacts) -> Iterator[Finding]:
    advice = {
        "absent": "is the kubelet running, and is this its folder (--kubelet-dir, --podresources-socket)?",
        "no access": "run as root, with the folder mounted",
        "file": "something that is not a socket is at the kubelet's path; remove it and restart the kubelet",
    }
    for path, state in facts.sockets.items():
        if state == "socket":
            yield Finding("kubelet", Level.OK, f"socket {path}")
            continue
        others = [root for root in facts.kubelet_roots if f"{root}/{_PODRESOURCES}" != path]
        if path.endswith(_PODRESOURCES) and state == "absent" and others:
            yield Finding("kubelet", Level.ERROR, f"{path}: {state}", _MOVED.format(root=others[0]))
        else:
            yield Finding("kubelet", Level.ERROR, f"{path}: {state}", advice[state])
