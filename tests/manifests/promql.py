"""Extracts from a PromQL expression the series and labels that it reads, and the labels that it keeps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser


@dataclass(frozen=True, slots=True)
class Selector:
    """A series by name, and the labels that are compared."""

    name: str
    labels: frozenset[str]


def selectors(expression: str) -> list[Selector]:
    """Every selector of the expression.

    Raises:
        ValueError: not PromQL.
    """
    return [
        Selector(node.name or "", frozenset(matcher.name for matcher in node.matchers.matchers))
        for node in _nodes(promql_parser.parse(expression))
        if isinstance(node, promql_parser.VectorSelector)
    ]


def grouping(expression: str) -> set[str]:
    """Every label that an aggregation or a match of the expression names."""
    found: set[str] = set()
    for node in _nodes(promql_parser.parse(expression)):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.BinaryExpr) and modifier is not None:
            modifier = modifier.matching
        if modifier is not None:
            found |= set(modifier.labels)
    return found


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None:
            yield from _nodes(child)
    for child in getattr(node, "args", None) or ():
        yield from _nodes(child)
