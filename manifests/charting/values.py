"""Maps the chart's values to places in the objects, and to the Helm expressions for them.

What is written in values.yaml as a default is what the kustomizations have; the tests compare.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from manifests.charting.rendering import Key, Object

PLUGIN: Key = ("DaemonSet", "gpupack-device-plugin")
MPS: Key = ("DaemonSet", "gpupack-mps")
SCHEDULER: Key = ("Deployment", "gpupack-scheduler")
CONFIG: Key = ("ConfigMap", "gpupack-scheduler-config")
GPUS: Key = ("ConfigMap", "gpupack-simulated-gpus")
AGENTS: Key = ("ValidatingAdmissionPolicy", "gpupack-agents")
CHECKS_NAME: Key = ("ValidatingAdmissionPolicy", "gpupack-scheduler-name")
SETS_NAME: Key = ("MutatingAdmissionPolicy", "gpupack-scheduler-name")
POD = "spec.template.spec"
NAMESPACE = "gpupack-system"


@dataclass(frozen=True, slots=True)
class Scalar:
    """Replaces a string or number at a place with an expression."""

    key: Key
    place: str
    expression: str


@dataclass(frozen=True, slots=True)
class Tree:
    """Replaces everything below a place with a value, given as YAML."""

    key: Key
    place: str
    value: str


@dataclass(frozen=True, slots=True)
class Optional:
    """Adds lines at the end of a place; the lines contain their own condition."""

    key: Key
    place: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inside:
    """Replaces what a pattern matches inside a string with an expression."""

    key: Key
    place: str
    pattern: str
    expression: str


def _listed(value: str) -> tuple[str, ...]:
    return (f"{{{{- range {value} }}}}", "- {{ . | quote }}", "{{- end }}")


def _given(name: str, value: str, default: str) -> tuple[str, ...]:
    return (f"{{{{- if ne (toString {value}) {default} }}}}", f"- --{name}={{{{ {value} }}}}", "{{- end }}")


def _present(name: str, value: str) -> tuple[str, ...]:
    return (f"{{{{- with {value} }}}}", f"{name}: {{{{ . | toJson }}}}", "{{- end }}")


_KUBE_SCHEDULER = (
    '.Values.images.kubeScheduler | default (printf "registry.k8s.io/kube-scheduler:%s" '
    '(regexFind "v[0-9]+\\\\.[0-9]+\\\\.[0-9]+" .Capabilities.KubeVersion.Version))'
)
_GPU_POD = (
    *_present("imagePullSecrets", ".Values.imagePullSecrets"),
    *_present("runtimeClassName", ".Values.devicePlugin.runtimeClassName"),
)
_STARTUP_TAINTS = 'join " " .Values.devicePlugin.startupTaints'
_UNIT = _given("memory-unit-mib", ".Values.memoryUnitMib", '"1024"')
_CONFIG_FILE = '(print $.Template.BasePath "/configmap-gpupack-scheduler-config.yaml")'
_CHECKSUM = f"checksum/config: {{{{ include {_CONFIG_FILE} . | sha256sum }}}}"

SUBSTITUTIONS: tuple[Scalar | Tree | Optional | Inside, ...] = (
    Scalar(PLUGIN, f"{POD}.containers.0.image", ".Values.images.devicePlugin"),
    Scalar(SCHEDULER, f"{POD}.containers.0.image", _KUBE_SCHEDULER),
    Scalar(SCHEDULER, f"{POD}.containers.1.image", ".Values.images.extender"),
    Scalar(MPS, f"{POD}.containers.0.image", ".Values.images.devicePlugin"),
    Scalar(SCHEDULER, "spec.replicas", ".Values.scheduler.replicas"),
    Scalar(SCHEDULER, f"{POD}.priorityClassName", ".Values.scheduler.priorityClassName"),
    Scalar(PLUGIN, f"{POD}.priorityClassName", ".Values.devicePlugin.priorityClassName"),
    Tree(PLUGIN, f"{POD}.affinity", ".Values.devicePlugin.affinity"),
    Tree(MPS, f"{POD}.affinity", ".Values.devicePlugin.affinity"),
    Tree(PLUGIN, f"{POD}.tolerations", ".Values.devicePlugin.tolerations"),
    Tree(PLUGIN, f"{POD}.containers.0.resources", ".Values.devicePlugin.resources"),
    Tree(SCHEDULER, f"{POD}.affinity", ".Values.scheduler.affinity"),
    Tree(SCHEDULER, f"{POD}.containers.0.resources", ".Values.scheduler.resources"),
    Tree(SCHEDULER, f"{POD}.containers.1.resources", ".Values.extender.resources"),
    Optional(PLUGIN, f"{POD}.containers.0.args", (*_UNIT, *_listed(".Values.devicePlugin.extraArgs"))),
    Optional(
        SCHEDULER,
        f"{POD}.containers.1.args",
        (*_UNIT, *_given("policy", ".Values.extender.policy", '""'), *_listed(".Values.extender.extraArgs")),
    ),
    Optional(PLUGIN, POD, _GPU_POD),
    Optional(MPS, POD, _GPU_POD),
    Optional(
        SCHEDULER,
        POD,
        (
            *_present("imagePullSecrets", ".Values.imagePullSecrets"),
            *_present("nodeSelector", ".Values.scheduler.nodeSelector"),
            *_present("tolerations", ".Values.scheduler.tolerations"),
        ),
    ),
    Optional(SCHEDULER, "spec.template.metadata.annotations", (_CHECKSUM,)),
    Inside(
        PLUGIN,
        f"{POD}.volumes.pod-resources.hostPath.path",
        r"^/var/lib/kubelet(?=/)",
        ".Values.devicePlugin.kubeletRoot",
    ),
    Scalar(PLUGIN, f"{POD}.containers.0.env.GPUPACK_STARTUP_TAINT.value", f"{_STARTUP_TAINTS} | quote"),
    Inside(AGENTS, "spec.variables.startupTaints.expression", r"(?<=')[a-z.-]+/\S+(?='\.split)", _STARTUP_TAINTS),
    Inside(SCHEDULER, f"{POD}.containers.1.args.2", r"(?<=--scheduler-name=)\S+", ".Values.scheduler.schedulerName"),
    Inside(CONFIG, "data.config.yaml", r"(?<=schedulerName: )\S+", ".Values.scheduler.schedulerName"),
    Inside(CONFIG, "data.config.yaml", r"(?<=ToScore: )\d+", ".Values.scheduler.percentageOfNodesToScore"),
    Inside(CHECKS_NAME, "spec.validations.0.messageExpression", "gpupack-scheduler", ".Values.scheduler.schedulerName"),
    Inside(
        SETS_NAME,
        "spec.mutations.0.applyConfiguration.expression",
        "gpupack-scheduler",
        ".Values.scheduler.schedulerName",
    ),
    Tree(GPUS, "data.gpus.yaml", ".Values.simulated.gpus"),
)

TOGGLED_KINDS = {
    "ValidatingAdmissionPolicy": ".Values.admissionPolicies.enabled",
    "ValidatingAdmissionPolicyBinding": ".Values.admissionPolicies.enabled",
    "MutatingAdmissionPolicy": "and .Values.admissionPolicies.enabled .Values.scheduler.enabled",
    "MutatingAdmissionPolicyBinding": "and .Values.admissionPolicies.enabled .Values.scheduler.enabled",
    "NetworkPolicy": ".Values.networkPolicy.enabled",
    "ResourceQuota": ".Values.resourceQuota.enabled",
}
"""Kinds that a value can leave out."""


class Tokens:
    """Placeholders for template text while an object is written as YAML."""

    def __init__(self) -> None:
        self._trees: dict[str, tuple[Any, str]] = {}
        self._texts: dict[str, str] = {}
        self._lines: dict[str, tuple[str, ...]] = {}

    def put(self, plain: dict[Key, Object]) -> None:
        """Put placeholders into the objects where the substitutions say, and remember what was there."""
        for number, each in enumerate(SUBSTITUTIONS):
            if each.key not in plain:
                continue
            parent, last = _place(plain[each.key], each.place)
            word = f"TOKEN{number:03}X"
            self._put_one(each, parent, last, word)

    def _put_one(self, each: Scalar | Tree | Optional | Inside, parent: Any, last: Any, word: str) -> None:
        match each:
            case Scalar():
                parent[last] = word
                self._texts[word] = f"{{{{ {each.expression} }}}}"
            case Inside():
                parent[last] = re.sub(each.pattern, word, parent[last])
                self._texts[word] = f"{{{{ {each.expression} }}}}"
            case Tree():
                self._put_tree(each, parent, last, word)
            case Optional():
                target = parent[last]
                if isinstance(target, list):
                    target.append(word)
                else:
                    target[f"zz{word}"] = word
                self._lines[word] = each.lines

    def _put_tree(self, each: Tree, parent: Any, last: Any, word: str) -> None:
        known, _ = self._trees.setdefault(word, (parent[last], each.value))
        if known == parent[last]:
            # An option that changes it has its own; the value is for all others.
            parent[last] = word

    def filled(self, text: str) -> str:
        """The YAML text with template text in place of the placeholders."""
        lines: list[str] = []
        for line in text.replace("{{", "OPENX").replace("}}", "CLOSEX").splitlines():
            lines += self._filled_line(line)
        joined = "\n".join(lines)
        return (
            joined.replace("OPENX", '{{ "{{" }}')
            .replace("CLOSEX", '{{ "}}" }}')
            .replace(NAMESPACE, "{{ .Release.Namespace }}")
        )

    def _filled_line(self, line: str) -> list[str]:
        indent = len(line) - len(line.lstrip())
        for word, extra in self._lines.items():
            if word in line:
                return [each if each.startswith("{{-") else " " * indent + each for each in extra]
        for word, (_, value) in self._trees.items():
            if word in line:
                return [
                    line.replace(f" {word}", "").replace(word, "")
                    + f" {{{{- toYaml {value} | nindent {indent + 2} }}}}"
                ]
        for word, text in self._texts.items():
            line = line.replace(word, text)
        return [line]


def _place(found: Any, place: str) -> tuple[Any, Any]:
    """The container of a place's last step, and that step; a step that is a file name may contain dots.

    In a list, a number is an index, and a text the name of an element, whatever its index is with an option.
    """
    steps = list(_steps(place))
    for step in steps[:-1]:
        is_name = isinstance(found, list) and isinstance(step, str)
        found = next(each for each in found if each["name"] == step) if is_name else found[step]
    return found, steps[-1]


def _steps(place: str) -> Iterator[str | int]:
    head, _, rest = place.partition(".")
    if head == "data":
        yield from ("data", rest)
        return
    yield int(head) if head.isdigit() else head
    if rest:
        yield from _steps(rest)
