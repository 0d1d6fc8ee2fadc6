"""Finds annotations, labels and resources under the prefix that nobody reads, and says which name was probably meant.

The admission policy `gpupack-names` (manifests/base/admission-names.yaml) has the same rules and sentences in CEL.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from extender.contract.names import Names

ANNOTATION, RESOURCE, LABEL = "annotation", "resource", "label"
_WHERE = {ANNOTATION: "of the pod", RESOURCE: "in the limits of a container"}


@dataclass(frozen=True, slots=True)
class _Name:
    """A name and what is left of it without what people get wrong: `gpumodel` of `GPU_Models`, and without gpu."""

    kind: str
    name: str
    whole: str
    plain: str


def misspelt_on_pod(
    names: Names,
    *,
    annotations: Iterable[str] = (),
    labels: Iterable[str] = (),
    resources: Mapping[str, Iterable[str]] | None = None,
) -> list[str]:
    """A sentence for each name under the prefix that means nothing on a pod.

    Args:
        names: the installation's names.
        annotations: names of the pod's annotations.
        labels: names of its labels; none under the prefix means anything.
        resources: names of limits and requests, by container.
    """
    asked = [_name(ANNOTATION, name) for name in names.pod_annotations]
    known = [*asked, *(_name(RESOURCE, name) for name in names.resources)]
    read = {*names.pod_annotations, *names.written_annotations}
    return [
        *(_sentence(known, ANNOTATION, name) for name in _under(names, annotations) if name not in read),
        *(_sentence(known, LABEL, name) for name in _under(names, labels)),
        *(
            f"container {container}: {_sentence(known, RESOURCE, name)}"
            for container, wanted in (resources or {}).items()
            for name in _under(names, wanted)
            if name not in names.resources
        ),
    ]


def misplaced_on_workload(names: Names, kind: str, own: Iterable[str], template: Iterable[str]) -> list[str]:
    """A sentence for each annotation of pods that stands on a Deployment or the like, and not in its pod template.

    Args:
        names: the installation's names.
        kind: `Deployment`, `Job` and so on.
        own: names of the workload's own annotations.
        template: names of the annotations of its template, or of its pods.
    """
    inside = "spec.jobTemplate.spec" if kind == "CronJob" else "spec"
    return [
        f"{ANNOTATION} {name} of the {kind} itself has no effect; write it into its pod template, "
        f"{inside}.template.metadata.annotations"
        for name in names.pod_annotations
        if name in set(own) - set(template)
    ]


def misspelt_on_node(names: Names, annotations: Iterable[str]) -> list[str]:
    """A sentence for each annotation under the prefix that means nothing on a node."""
    known = [_name(ANNOTATION, name) for name in (names.cordon_annotation, names.inventory_annotation)]
    read = {each.name for each in known}
    return [_sentence(known, ANNOTATION, name) for name in _under(names, annotations) if name not in read]


def _under(names: Names, found: Iterable[str]) -> list[str]:
    """Those under the prefix, each once; the API server lets annotations write it in capitals."""
    return [name for name in dict.fromkeys(found) if name.lower().startswith(f"{names.prefix}/")]


def _name(kind: str, name: str) -> _Name:
    whole = name.rpartition("/")[2].lower()
    for separator in "-_.":
        whole = whole.replace(separator, "")
    whole = whole.removesuffix("s")
    return _Name(kind, name, whole, whole.removeprefix("gpu") or whole)


def _sentence(known: Sequence[_Name], kind: str, name: str) -> str:
    meant = _meant(known, _name(kind, name))
    if meant is None:
        hint = f"known are {_listed(known, ANNOTATION)}"
        if any(each.kind == RESOURCE for each in known):
            hint += f" and {_listed(known, RESOURCE)}"
    elif meant.kind == kind:
        hint = f"did you mean {meant.name}?"
    else:
        hint = f"did you mean the {meant.kind} {meant.name} {_WHERE[meant.kind]}?"
    return f"{kind} {name} is not known to gpupack; {hint}"


def _listed(known: Iterable[_Name], kind: str) -> str:
    return f"the {kind}s {', '.join(each.name for each in known if each.kind == kind)}"


def _meant(known: Sequence[_Name], written: _Name) -> _Name | None:
    """The known name that is the same, else one with a slip of the keyboard, else one with the same beginning."""
    for alike in (_same, _slipped, _begun):
        for each in known:
            if alike(written, each):
                return each
    return None


def _same(written: _Name, known: _Name) -> bool:
    return written.plain == known.plain


def _slipped(written: _Name, known: _Name) -> bool:
    return _is_slip(written.plain, known.plain) or _is_slip(written.whole, known.whole)


def _begun(written: _Name, known: _Name) -> bool:
    return written.plain.startswith(known.plain) or (len(written.plain) > 2 and known.plain.startswith(written.plain))


def _is_slip(text: str, other: str) -> bool:
    """Whether one letter is wrong, missing or too many, or the letters are in another order."""
    longer, shorter = (text, other) if len(text) >= len(other) else (other, text)
    if len(longer) == len(shorter):
        return sorted(text) == sorted(other) or sum(a != b for a, b in zip(text, other, strict=True)) == 1
    return len(longer) == len(shorter) + 1 and any(
        longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer))
    )
