"""Judges how containers get the GPUs that they were given: by the nvidia runtime, or by CDI."""

from collections.abc import Mapping
from dataclasses import replace

from device_plugin.doctoring.facts import NodeFacts, RuntimeFile
from device_plugin.settings import DeviceListStrategy
from extender.contract.findings import Finding, Level

CDI_KIND = "nvidia.com/gpu"
_GENERATE = "run `nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml --device-name-strategy=uuid`"


def check_runtime(facts: NodeFacts) -> Finding:
    """Whether the kubelet's container runtime has the nvidia runtime, and whether pods get it without asking for it."""
    files = {path: found for path, found in facts.runtime_files.items() if found.of == facts.kubelet_runtime}
    others = [path for path in facts.runtime_files if path not in files]
    beside = f" ({', '.join(others)} does not count: the kubelet uses {facts.kubelet_runtime})" if others else ""
    configured = [path for path, found in files.items() if found.has_nvidia]
    if configured:
        finding = _default_runtime(facts, files, f"nvidia is configured in {', '.join(configured)}")
        return replace(finding, found=f"{finding.found}{beside}")
    if not facts.runtime_files:
        return Finding(
            "runtime", Level.NOTE, "no configuration of a container runtime can be read here", "run on the host"
        )
    if _uses_cdi(facts) and any(found.kind == CDI_KIND for found in facts.cdi_files.values()):
        return Finding("runtime", Level.OK, "no nvidia runtime is configured, and CDI needs none")
    advice = "run `nvidia-ctk runtime configure` for your runtime and restart it, or use --device-list-strategy=cdi-cri"
    where = ", ".join(files) or f"{facts.kubelet_runtime}, which has no configuration file"
    return Finding("runtime", Level.WARNING, f"nvidia is not configured in {where}{beside}", advice)


def _default_runtime(facts: NodeFacts, files: Mapping[str, RuntimeFile], configured: str) -> Finding:
    named = [found.default for found in files.values() if found.default]
    default = named[-1] if named else ""
    if "nvidia" in default:
        return Finding("runtime", Level.OK, f"{configured}, and the default runtime is {default}")
    found = f"{configured}, but " + (f"the default runtime is {default}" if default else "it is not the default")
    if _uses_cdi(facts):
        return Finding("runtime", Level.NOTE, f"{found}; the device plugin itself needs runtimeClassName: nvidia")
    advice = (
        "other containers get no GPU: give GPU pods and the DaemonSet runtimeClassName: nvidia (a RuntimeClass of that "
        "name has to exist), make it the default (`nvidia-ctk runtime configure --set-as-default`, then restart the "
        "runtime), or use --device-list-strategy=cdi-cri"
    )
    return Finding("runtime", Level.WARNING, found, advice)


def check_cdi(facts: NodeFacts) -> Finding:
    """Whether CDI has a device for each GPU, by the name that the plugin gives to the kubelet: its UUID."""
    files = {path: found for path, found in facts.cdi_files.items() if found.kind == CDI_KIND}
    if not files:
        if _uses_cdi(facts):
            return Finding("cdi", Level.ERROR, f"no CDI specification of {CDI_KIND}", _GENERATE)
        return Finding("cdi", Level.NOTE, f"no CDI specification of {CDI_KIND}; {facts.strategy} needs none")
    where = ", ".join(files)
    names = frozenset[str]().union(*(found.devices for found in files.values()))
    missing = [uuid for uuid, problem in facts.gpus.items() if not problem and uuid not in names]
    if missing and _uses_cdi(facts):
        found = f"{where} has no device of {CDI_KIND} named {', '.join(missing)}"
        return Finding("cdi", Level.ERROR, found, f"{_GENERATE}: containers are given GPUs by UUID")
    return Finding("cdi", Level.OK, f"{CDI_KIND} is described in {where}")


def _uses_cdi(facts: NodeFacts) -> bool:
    return facts.strategy == DeviceListStrategy.CDI_CRI.value
