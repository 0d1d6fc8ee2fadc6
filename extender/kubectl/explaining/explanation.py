"""Holds what `explain` says as a value, and writes it: the cause first, the details last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extender.kubectl.cluster.surroundings import EventObject
from extender.kubectl.explaining.causes import Cause
from extender.kubectl.explaining.diagnosis import Diagnosis
from extender.kubectl.output.answer import Answer, Cell, Column, Line, Table, Tone
from extender.kubectl.output.texts import listed

_WHICH = 4
_WHATS = 2
_WHATS_FOR_SCRIPTS = 50


Extender = Mapping[str, Any]
"""What a running extender says: `explain` of the pod, `nodes`, and `notReady` where it is not."""


def told_of_pod(extender: Extender | None) -> Mapping[str, Any]:
    """The answer of `/v1/explain`; empty without an extender, and where it knows nothing of the pod."""
    return (extender or {}).get("explain") or {}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something is as it is.

    `state` is pending, bound, ended or not-created; `cause` is None unless it waits. `facts` add names and numbers to
    `why`; `gpus` are those of the pod, or of the nearest nodes, per node name; `details` are more for scripts.
    """

    subject: str
    state: str
    why: str
    cause: Cause | None = None
    facts: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()
    asks: str = ""
    diagnosis: Diagnosis | None = None
    gpus: Mapping[str, Sequence[Mapping[str, Any]]] | None = None
    scheduler_message: str = ""
    events: tuple[EventObject, ...] = ()
    details: Mapping[str, Any] | None = None


def explained(explanation: Explanation) -> Answer:
    """The answer."""
    waits = explanation.state in ("pending", "not-created")
    tone = Tone.CAREFUL if waits else Tone.GOOD
    verb = {"pending": "waits", "not-created": "has no pod", "bound": "is placed", "ended": "has ended"}
    body: list[Table | Line] = [
        Line(f"{explanation.subject} {verb.get(explanation.state, explanation.state)}: {explanation.why}", tone)
    ]
    body += [Line(f"  {fact}") for fact in explanation.facts]
    if explanation.asks:
        body.append(Line(f"  asks for {explanation.asks}"))
    if explanation.helps:
        body += [Line(), Line("What would help", Tone.HEADING)]
        body += [Line(f"  - {text}") for text in explanation.helps]
    if explanation.diagnosis is not None and explanation.diagnosis.groups:
        body += [Line(), _groups(explanation.diagnosis)]
    for node, gpus in (explanation.gpus or {}).items():
        body += [Line(), Line(f"GPUs of {node}", Tone.HEADING), _gpus(gpus)]
    if explanation.scheduler_message:
        body += [
            Line(),
            Line("Last message of its scheduler", Tone.HEADING),
            Line(f"  {explanation.scheduler_message}"),
        ]
    if explanation.events:
        body += [Line(), Line("Events", Tone.HEADING), _events(explanation.events)]
    return Answer(_document(explanation), tuple(body))


def _groups(diagnosis: Diagnosis) -> Table:
    columns = (Column("nodes", right=True), Column("why"), Column("in numbers"), Column("which"))
    rows: list[tuple[str | Cell, ...]] = []
    for group in diagnosis.groups:
        whats = [f"{what} ({count})" if count > 1 else what for what, count in group.whats() if what]
        if len(whats) > _WHATS:
            whats = [f"closest node: {group.nearest.what_there}"]
        others = sorted(
            {rule.what for verdict in group.verdicts for rule in verdict.rules} - {w for w, _ in group.whats()}
        )
        if others:
            whats.append(f"also {listed(others, _WHATS)}")
        text = "; ".join(whats)
        tone = Tone.GOOD if group.cause is Cause.FITS else Tone.PLAIN
        rows.append((f"{len(group.verdicts):,}", Cell(group.cause.text, tone), text, listed(group.names, _WHICH)))
    return Table(columns, tuple(rows))


def _gpus(gpus: Sequence[Mapping[str, Any]]) -> Table:
    keys = [
        key
        for key in ("place", "model", "memory", "free", "holds", "why")
        if any(gpu.get(key) not in (None, "") for gpu in gpus)
    ]
    columns = tuple(
        Column("gpu" if key == "place" else key, right=key in ("place", "memory", "free", "holds")) for key in keys
    )
    return Table(columns, tuple(tuple(str(gpu.get(key, "")) for key in keys) for gpu in gpus), indent=2)


def _events(events: Sequence[EventObject]) -> Table:
    columns = (Column("at"), Column("count", right=True), Column("reason"), Column("message"))
    rows = tuple((event.at, str(event.count or 1), event.reason, event.message) for event in events)
    return Table(columns, rows, indent=2)


def _document(explanation: Explanation) -> dict[str, Any]:
    groups = explanation.diagnosis.groups if explanation.diagnosis is not None else ()
    return {
        "subject": explanation.subject,
        "state": explanation.state,
        "cause": explanation.cause.value if explanation.cause is not None else None,
        "why": explanation.why,
        "facts": list(explanation.facts),
        "helps": list(explanation.helps),
        "asks": explanation.asks,
        "nodes": [
            {
                "cause": group.cause.value,
                "why": group.cause.text,
                "nodes": len(group.verdicts),
                "names": group.names,
                "opens": group.opens,
                "what": {what: count for what, count in group.whats()[:_WHATS_FOR_SCRIPTS] if what},
            }
            for group in groups
        ],
        "gpus": {node: [dict(gpu) for gpu in gpus] for node, gpus in (explanation.gpus or {}).items()},
        "schedulerSaid": explanation.scheduler_message,
        "events": [
            {"at": event.at, "count": event.count or 1, "reason": event.reason, "message": event.message}
            for event in explanation.events
        ],
        **(explanation.details or {}),
    }
