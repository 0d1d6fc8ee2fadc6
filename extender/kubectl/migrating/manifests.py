"""Rewrites the text of manifests so that their pods ask gpupack, and reports what was changed or could not be.

Every pod spec is found, in whatever object it stands: the template of a Deployment, the tasks of an operator's job, an
item of a List. What cannot be decided, or cannot be changed by itself, stays as it is and is reported.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from yaml.nodes import Node

from extender.kubectl.migrating import peers
from extender.kubectl.migrating.deciding import decide
from extender.kubectl.migrating.quotas import decide_quota
from extender.kubectl.migrating.requests import Change, MigrateOptions, PeerContainer, PeerPod, Rewrite, Undecided
from extender.kubectl.migrating.splicing import Path, Splice, UnchangeableError, apply, changed, splices
from extender.kubectl.migrating.yamltext import ManifestError, Plain, documents, plain

_MENTIONS = re.compile(r"aliyun\.com|nvidia\.com|gpu-(memory|fraction)|\\[ux]")
"""What every text has that asks one of the programs for a GPU; `\\u` may be any of its letters."""

KINDS_OF_CONTAINERS = ("initContainers", "containers")


class Kind(Enum):
    """What a finding is about."""

    CHANGED = "changed"
    NOTE = "note"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark about one object of a file; `where` is its kind, name and, inside of it, the pod's place."""

    kind: Kind
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """The new text, the number of pods that were rewritten, and the findings."""

    text: str
    pods: int
    findings: tuple[Remark, ...]

    def of(self, kind: Kind) -> tuple[Remark, ...]:
        """The findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind is kind)


def migrate(text: str, options: MigrateOptions) -> Migrated:
    """Rewrite every pod in `text`; what is not concerned keeps every byte.

    A text without any of the other programs' names is not read further.

    Raises:
        ManifestError: not YAML.
    """
    if not _MENTIONS.search(text):
        return Migrated(text, 0, ())
    cases = []
    for root in documents(text):
        value = plain(root)
        pods = {path: decide(_pod(_at(value, path)), options) for path in _pod_paths(value, ())}
        quotas = {path: decide_quota(_hard(_at(value, path)), options) for path in _quota_paths(value)}
        cases.append(_Case(root, value, pods | quotas))
    edits, refused = _edits(text, cases)
    findings: list[Remark] = []
    undecided: list[tuple[int, Path]] = []
    for place, case in enumerate(cases):
        for path, verdict in case.verdicts.items():
            reported = (
                list(_reported(_where(case.value, path), verdict, refused.get((place, path), ""))) if verdict else []
            )
            findings += reported
            undecided += [(place, path)] if reported and reported[0].kind is Kind.UNDECIDED else []
    try:
        written = apply(text, edits)
    except UnchangeableError as error:
        raise ManifestError(
            f"its pods share what would change (anchors), and cannot be changed one by one: {error}"
        ) from error
    for place, root in enumerate(documents(written)):
        findings += _left_over(plain(root), [path for number, path in undecided if number == place], options)
    rewritten = [
        (place, path) for place, case in enumerate(cases) for path, each in case.rewrites.items() if not each.hard
    ]
    return Migrated(written, len([each for each in rewritten if each not in refused]), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Case:
    """One document, and what is to become of its pods, by their paths."""

    root: Node
    value: Plain
    verdicts: Mapping[Path, Rewrite | Undecided | None]

    @property
    def rewrites(self) -> dict[Path, Rewrite]:
        return {path: verdict for path, verdict in self.verdicts.items() if isinstance(verdict, Rewrite)}


def _reported(where: str, verdict: Rewrite | Undecided, refused: str) -> Iterator[Remark]:
    if isinstance(verdict, Undecided):
        yield from (Remark(Kind.UNDECIDED, where, question) for question in verdict.questions)
    elif refused:
        yield Remark(Kind.UNDECIDED, where, f"{'; '.join(verdict.summary)}: to be written by hand, {refused}")
    else:
        yield from (Remark(Kind.CHANGED, where, text) for text in verdict.summary)
        yield from (Remark(Kind.NOTE, where, note) for note in verdict.notes)


def _edits(text: str, cases: Sequence[_Case]) -> tuple[list[Splice], dict[tuple[int, Path], str]]:
    """The splices of all pods, and why some of them cannot be changed, by document and path.

    All at once, since pods may share what changes through an anchor, and since proving takes reading the whole text;
    where that fails, each document by itself, and at last each pod.
    """
    wanted = {place: case.rewrites for place, case in enumerate(cases)}
    try:
        return _proven(text, cases, wanted), {}
    except UnchangeableError:
        edits: list[Splice] = []
        refused: dict[tuple[int, Path], str] = {}
    for place, rewrites in wanted.items():
        try:
            edits += _proven(text, cases, {place: rewrites})
            continue
        except UnchangeableError:
            pass
        for path, rewrite in rewrites.items():
            try:
                edits += _proven(text, cases, {place: {path: rewrite}})
            except UnchangeableError as error:
                refused[place, path] = str(error)
    return edits, refused


def _proven(text: str, cases: Sequence[_Case], wanted: Mapping[int, Mapping[Path, Rewrite]]) -> list[Splice]:
    """The splices of some pods, proven on a copy: they make of the text what the changes make of its values.

    Raises:
        UnchangeableError: they do not.
    """
    edits: list[Splice] = []
    expected = [case.value for case in cases]
    for number, rewrites in wanted.items():
        for path, rewrite in rewrites.items():
            for where, change in _changes(_at(cases[number].value, path), path, rewrite):
                edits += splices(text, cases[number].root, where, change)
                expected[number] = changed(expected[number], where, change)
    if not edits:
        return []
    try:
        found = [plain(root) for root in documents(apply(text, edits))]
    except ManifestError as error:
        raise UnchangeableError("its YAML is of a form that this command cannot change") from error
    if found != expected:
        raise UnchangeableError("other places refer to what would change (an anchor or a merge)")
    return edits


def _changes(pod: Plain, path: Path, rewrite: Rewrite) -> Iterator[tuple[Path, Change]]:
    for kind in KINDS_OF_CONTAINERS:
        for place, container in enumerate(_list(_map(_map(pod).get("spec")).get(kind))):
            name = str(_map(container).get("name"))
            for part, changes in (("limits", rewrite.limits), ("requests", rewrite.requests)):
                if change := changes.get(name):
                    yield (*path, "spec", kind, place, "resources", part), change
    for where, change in (
        (("metadata", "annotations"), rewrite.annotations),
        (("metadata", "labels"), rewrite.labels),
        (("spec",), rewrite.spec),
        (("spec", "hard"), rewrite.hard),
    ):
        if change:
            yield (*path, *where), change


def _pod_paths(value: Plain, path: Path) -> Iterator[Path]:
    """Where something has a `spec` with containers: a pod, or the template of pods."""
    if isinstance(value, dict):
        if isinstance(_map(value.get("spec")).get("containers"), list):
            yield path
        for key, child in value.items():
            yield from _pod_paths(child, (*path, key))
    elif isinstance(value, list):
        for place, child in enumerate(value):
            yield from _pod_paths(child, (*path, place))


def _quota_paths(value: Plain) -> Iterator[Path]:
    """A ResourceQuota, or those among the items of a List."""
    if _map(value).get("kind") == "ResourceQuota":
        yield ()
    for place, item in enumerate(_list(_map(value).get("items"))):
        if _map(item).get("kind") == "ResourceQuota":
            yield ("items", place)


def _hard(value: Plain) -> dict[str, str]:
    return _texts(_map(_map(value).get("spec")).get("hard"))


def _pod(value: Plain) -> PeerPod:
    metadata, spec = _map(_map(value).get("metadata")), _map(_map(value).get("spec"))
    containers = [
        _container(_map(container), init=kind == "initContainers")
        for kind in KINDS_OF_CONTAINERS
        for container in _list(spec.get(kind))
    ]
    return PeerPod(
        tuple(containers),
        _texts(metadata.get("annotations")),
        _texts(metadata.get("labels")),
        str(spec.get("schedulerName") or ""),
    )


def _container(value: Mapping[str, Plain], *, init: bool) -> PeerContainer:
    resources = _map(value.get("resources"))
    program = [value.get(part) for part in ("command", "args", "env")]
    return PeerContainer(
        str(value.get("name")),
        init=init,
        sidecar=init and value.get("restartPolicy") == "Always",
        limits=_texts(resources.get("limits")),
        requests=_texts(resources.get("requests")),
        variables={str(_map(each).get("name")): _text(_map(each).get("value")) for each in _list(value.get("env"))},
        mentions=str(program),
    )


def _left_over(value: Plain, undecided: list[Path], options: MigrateOptions) -> Iterator[Remark]:
    """Names of the other programs that are still there, outside of pods that were reported already."""
    seen = set()
    for path, amount in _keys(value, ()):
        # A path of a JSON patch has ~1 for the slash in a name (RFC 6901).
        pointed = str(amount).rpartition("/")[2].replace("~1", "/") if path[-1] == "path" else ""
        name = pointed or str(path[-1])
        resource = name.removeprefix("requests.").removeprefix("limits.")
        known = resource in options.keep or resource == options.names.gpu_resource
        spoken_of = known or any(path[: len(pod)] == pod for pod in undecided)
        if peers.is_resource(resource) and not spoken_of and amount != "0" and path not in seen:
            seen.add(path)
            where = ".".join(map(str, path[:-1]))
            text = f"{where}{': ' if where else ''}{name} stays, and is to be changed by hand"
            yield Remark(Kind.UNDECIDED, _where(value, ()), text)


def _keys(value: Plain, path: Path) -> Iterator[tuple[Path, Plain]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield (*path, key), child
            yield from _keys(child, (*path, key))
    elif isinstance(value, list):
        for place, child in enumerate(value):
            yield from _keys(child, (*path, place))


def _where(value: Plain, path: Path) -> str:
    """The object's kind, namespace and name, and the place in it; the items of a List have their own."""
    rest = path
    while rest[:1] == ("items",) and len(rest) > 1:
        value, rest = _at(value, rest[:2]), rest[2:]
    metadata = _map(_map(value).get("metadata"))
    name = "/".join(str(part) for part in (metadata.get("namespace"), metadata.get("name")) if part)
    kind = f"{_map(value).get('kind') or 'object'} {name or 'without a name'}"
    return f"{kind}, {'.'.join(map(str, rest))}" if rest and rest not in _USUAL else kind


_USUAL: tuple[Path, ...] = (("spec", "template"), ("spec", "jobTemplate", "spec", "template"))


def _at(value: Plain, path: Path) -> Plain:
    for step in path:
        value = value[step] if isinstance(value, list) and isinstance(step, int) else _map(value).get(str(step))
    return value


def _map(value: Plain) -> dict[str, Plain]:
    return value if isinstance(value, dict) else {}


def _list(value: Plain) -> list[Plain]:
    return value if isinstance(value, list) else []


def _text(value: Plain) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Plain) -> dict[str, str]:
    return {name: text for name, text in _map(value).items() if isinstance(text, str)}
