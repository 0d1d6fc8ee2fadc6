"""Reads what to show from the page's address, and makes links: everything that a viewer chose is in the address."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

STATES = {
    "": "all nodes",
    "free": "with free GPU memory",
    "idle": "with an idle GPU",
    "full": "without free GPU memory",
    "problem": "with a problem",
}
SORTS = {"": "name", "free": "most free on one GPU", "used": "fullest first"}
COLOURS = {"": "automatic", "namespace": "namespace", "workload": "workload"}
LONGEST = 200
MAX_PAGE = 1_000_000


class QueryError(ValueError):
    """A parameter is invalid; the message names it, its value and what was expected."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to show.

    Args:
        q: text that a node's name, a model, a GPU's UUID or a pod on it (`namespace/name`) contains.
        group: GPU models of the nodes, as the page names them; empty for all.
        state: one of `STATES`.
        sort: one of `SORTS`.
        colour: what pods are coloured by, one of `COLOURS`.
        page: page of the list of nodes, from 1.
    """

    q: str = ""
    group: str = ""
    state: str = ""
    sort: str = ""
    colour: str = ""
    page: int = 1

    def __post_init__(self) -> None:
        for name, value in (("q", self.q), ("group", self.group)):
            if len(value) > LONGEST:
                raise QueryError(f"{name} has {len(value)} characters, expected at most {LONGEST}")
        for name, value, choices in (
            ("state", self.state, STATES),
            ("sort", self.sort, SORTS),
            ("colour", self.colour, COLOURS),
        ):
            if value not in choices:
                known = ", ".join(choice for choice in choices if choice)
                raise QueryError(f"{name} is {value!r}, expected one of {known}, or nothing")
        if not 1 <= self.page <= MAX_PAGE:
            raise QueryError(f"page is {self.page}, expected 1 or more")

    @property
    def narrowed(self) -> bool:
        """Whether nodes may be left out."""
        return bool(self.q or self.group or self.state)

    def text(self, **changes: Any) -> str:
        """The address's query with these changes; what is not chosen is left out."""
        changed = replace(self, **changes)
        chosen = {name: getattr(changed, name) for name in ("q", "group", "state", "sort", "colour")}
        if changed.page > 1:
            chosen["page"] = str(changed.page)
        return urlencode({name: value for name, value in chosen.items() if value})

    def link(self, **changes: Any) -> str:
        """A relative address of the page with these changes."""
        return f"?{self.text(**changes)}"


def parse_query(arguments: Mapping[str, str]) -> Query:
    """Read an address; parameters that the page does not know are ignored.

    Raises:
        QueryError: a value has no meaning.
    """
    page = arguments.get("page", "1")
    if not (page.isascii() and page.isdigit() and len(page) <= 9):
        raise QueryError(f"page is {page[:20]!r}, expected a number such as 2")
    return Query(
        q=arguments.get("q", "").strip(),
        group=arguments.get("group", ""),
        state=arguments.get("state", ""),
        sort=arguments.get("sort", ""),
        colour=arguments.get("colour", ""),
        page=int(page),
    )
