"""Reads YAML into nodes that know their place in the text, and into plain values that can be compared.

Nodes are PyYAML's: its composer keeps the place of each key and value, so that a change can be made in the text itself
and every byte that is not concerned stays as it was, comments included.
"""

from collections.abc import Iterator

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Plain = str | None | dict[str, "Plain"] | list["Plain"]
"""A value without YAML's types: a scalar is its text; None is null, nothing written, or a mapping without entries."""

NULL_TAG = "tag:yaml.org,2002:null"
MAX_NODES = 1_000_000
MAX_DEPTH = 100


class ManifestError(ValueError):
    """The text is not YAML that can be read; the message says where."""


def documents(text: str) -> list[Node]:
    """The root node of each document that is not empty.

    Raises:
        ManifestError: not YAML, or nested or repeated beyond reason.
    """
    try:
        roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        hint = "; templates of Helm have to be rendered first (helm template)" if "{{" in text else ""
        raise ManifestError(f"not YAML: {' '.join(str(error).split())[:300]}{hint}") from error
    budget = [MAX_NODES]
    for root in roots:
        _check(root, budget, 0)
    return [root for root in roots if root is not None]


def plain(node: Node) -> Plain:
    """The value of a node; what is written once and referred to twice is there twice."""
    if isinstance(node, MappingNode):
        return {key_text(key): plain(value) for key, value in node.value} or None
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.value]
    return None if node.tag == NULL_TAG else str(node.value)


def key_text(node: Node) -> str:
    """A key as text; keys that are no scalars have a text that no Kubernetes field has."""
    return str(node.value) if isinstance(node, ScalarNode) else "?"


def entry(node: Node, key: str) -> tuple[Node, Node] | None:
    """Key and value nodes of `key` in a mapping."""
    if isinstance(node, MappingNode):
        for key_node, value in node.value:
            if key_text(key_node) == key:
                return key_node, value
    return None


def children(node: Node) -> Iterator[tuple[str | int, Node]]:
    """What a node holds, with its key or place."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key_text(key), value
    elif isinstance(node, SequenceNode):
        yield from enumerate(node.value)


def _check(node: Node | None, budget: list[int], depth: int) -> None:
    """Refuse what would take forever: an alias is followed as often as it is written."""
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_DEPTH:
        raise ManifestError(f"more than {MAX_NODES} values or {MAX_DEPTH} levels, expected manifests")
    if node is not None:
        for _, child in children(node):
            _check(child, budget, depth + 1)
