"""Parses field and label selectors, and matches stored records against them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bench.simulated.apiserver.objects.resources import ApiResource
from bench.simulated.apiserver.objects.statuses import StatusError

_TERM = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<absent_key>[^\s!=,()]+)"
    r"|(?P<key>[^\s!=,()]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[^\s,()=!]*)"
    r"|(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key: the value is (or, negated, is not) among `values`; None asks for presence."""

    key: str
    values: frozenset[str] | None
    negated: bool = False

    def holds(self, entries: Mapping[str, str]) -> bool:
        """Whether `entries` satisfies it; as in Kubernetes an absent key satisfies a negated condition."""
        present = self.key in entries if self.values is None else entries.get(self.key) in self.values
        return present is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """What a list or watch selects; the empty selector selects everything."""

    fields: tuple[Requirement, ...] = ()
    labels: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields or self.labels)

    def matches(self, fields: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        """Whether a record with these selectable fields and labels is seen."""
        return all(wanted.holds(fields) for wanted in self.fields) and all(
            wanted.holds(labels) for wanted in self.labels
        )


def parse_selector(resource: ApiResource, fields: str, labels: str) -> Selector:
    """Read both texts of one request.

    Raises:
        ApiError: 400 for a text that does not parse or a field that the resource does not offer.
    """
    wanted = _terms(fields, "field")
    for term in wanted:
        if term.key not in resource.selectable:
            raise StatusError(400, f"field label not supported: {term.key}")
        if term.values is None:
            raise StatusError(400, f"invalid field selector: {fields!r}")
    return Selector(fields=wanted, labels=_terms(labels, "label"))


def _terms(text: str, what: str) -> tuple[Requirement, ...]:
    found = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or match.end() == position:
            raise StatusError(400, f"invalid {what} selector: {text!r}")
        found.append(_requirement(match))
        position = match.end()
    return tuple(found)


def _requirement(match: re.Match[str]) -> Requirement:
    if match["absent"]:
        return Requirement(match["absent_key"], None, negated=True)
    if match["op"]:
        return Requirement(match["key"], frozenset({match["value"]}), negated=match["op"] == "!=")
    if match["set"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], values, negated=match["set"] == "notin")
    return Requirement(match["key"], None)
