"""Changes mappings in the text of a YAML document without touching anything else.

Nothing is re-emitted: each change is a few splices at the places that the composer noted, in the style that it finds
there (block or flow, quotes, indentation, line endings).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from extender.kubectl.migrating.requests import Change
from extender.kubectl.migrating.yamltext import Plain, entry, key_text

_PLAIN = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
Path = tuple[str | int, ...]
Value = str | int | dict[str, "Value"]
Entries = dict[str, Value]


class UnchangeableError(Exception):
    """The place cannot be changed by itself: the message says why."""


@dataclass(frozen=True, slots=True)
class Splice:
    """Replace the characters from `start` to `end`."""

    start: int
    end: int
    text: str


def apply(text: str, splices: Sequence[Splice]) -> str:
    """`text` with all splices made; the same one twice (through an alias) counts once.

    Raises:
        UnchangeableError: two of them concern the same characters.
    """
    parts, position = [], 0
    for splice in sorted(set(splices), key=lambda each: (each.start, each.end, each.text)):
        if splice.start < position:
            raise UnchangeableError("two changes of one place")
        parts += [text[position : splice.start], splice.text]
        position = splice.end
    return "".join([*parts, text[position:]])


def changed(value: Plain, path: Path, change: Change) -> Plain:
    """What a change makes of plain values: the truth that the spliced text is compared with.

    A mapping that is left empty goes from the one that it is in; one that is missing is made.
    """
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        return [changed(item, rest, change) if place == step else item for place, item in enumerate(value)]
    whole = dict(value) if isinstance(value, dict) else {}
    before = whole.pop(str(step), None)
    if rest:
        inner = changed(before, rest, change)
        keep = before is not None or inner is not None
    else:
        entries = before if isinstance(before, dict) else {}
        inner = {name: each for name, each in entries.items() if name not in change.remove}
        inner |= {name: str(amount) for name, amount in change.put.items()}
        keep = bool(inner)
    return {**whole, str(step): inner} if keep else whole or None


def splices(text: str, root: Node, path: Path, change: Change) -> Iterator[Splice]:
    """The splices that make `change` in the mapping at `path`.

    Raises:
        UnchangeableError: the place is not a mapping.
    """
    node, missing = _follow(root, path)
    if missing:
        if change.put:
            nested: Entries = dict(change.put)
            for name in reversed(missing[1:]):
                nested = {name: nested}
            yield from _put(text, node, {missing[0]: nested}, without=())
        return
    if not isinstance(node, MappingNode):
        if not change.put:
            return
        raise UnchangeableError(f"{'.'.join(map(str, path))} is no mapping")
    gone = [pair for pair in node.value if key_text(pair[0]) in change.remove]
    if gone and len(gone) == len(node.value) and not change.put:
        parent, _ = _follow(root, path[:-1])
        yield from _remove_whole(text, parent, str(path[-1]), node)
        return
    replaced = gone[:1] if change.put else []
    if replaced:
        key, value = replaced[0]
        lines = _separator(text, node, key).join(_written(node, dict(change.put), key, value))
        yield Splice(key.start_mark.index, value.end_mark.index, lines)
    yield from _remove(text, node, gone[len(replaced) :])
    if change.put and not replaced:
        yield from _put(text, node, dict(change.put), without=change.remove)


def _follow(root: Node, path: Path) -> tuple[Node, list[str]]:
    """The node at `path`, or the last one on the way and the names that are missing."""
    node = root
    for place, step in enumerate(path):
        if isinstance(step, int):
            node = node.value[step]
            continue
        found = entry(node, step)
        if found is None or (_is_empty(found[1]) and place == len(path) - 1):
            return node, [str(name) for name in path[place:]]
        node = found[1]
    return node, []


def _is_empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and not node.value


def _put(text: str, node: Node, entries: Entries, without: Sequence[str]) -> Iterator[Splice]:
    """Add entries to a mapping: after its last plain value, which keeps short fields together."""
    if not isinstance(node, MappingNode):
        raise UnchangeableError("a mapping was expected where something has to be added")
    stay = [pair for pair in node.value if key_text(pair[0]) not in without]
    for name, value in entries.items():
        present = entry(node, name)
        if present is not None:
            if not _is_empty(present[1]):
                raise UnchangeableError(f"{name} is there already")
            place = present[0].end_mark.index + 1  # behind the colon of a key without a value
            yield Splice(place, max(place, present[1].end_mark.index), " " + _flow(value))
            return
    if node.flow_style:
        words = ", ".join(f"{_flow_key(node, name)}: {_flow(value)}" for name, value in entries.items())
        if stay:
            end = stay[-1][1].end_mark.index
            yield Splice(end, end, ", " + words)
        else:
            yield Splice(node.start_mark.index + 1, node.end_mark.index - 1, words)
        return
    column = _column(node.value[0][0])
    lines = [line for name, value in entries.items() for line in _block(name, value)]
    scalars = [
        pair
        for pair in stay
        if isinstance(pair[1], ScalarNode) and pair[1].style not in {"|", ">"} and not _is_empty(pair[1])
    ]
    if scalars:
        end = _line_end(text, scalars[-1][1].end_mark.index)
        yield Splice(end, end, "".join(_newline(text) + " " * column + line for line in lines))
    else:
        start = node.value[0][0].start_mark.index
        yield Splice(start, start, "".join(line + _newline(text) + " " * column for line in lines))


def _remove(text: str, node: MappingNode, gone: Sequence[tuple[Node, Node]]) -> Iterator[Splice]:
    if node.flow_style:
        yield from _remove_from_flow(node, gone)
        return
    for key, value in gone:
        place = node.value.index((key, value))
        yield _without_line(text, key, value.end_mark.index, node.value[place + 1 :])


def _remove_from_flow(node: MappingNode, gone: Sequence[tuple[Node, Node]]) -> Iterator[Splice]:
    """Each with the comma behind it; those at the end with the comma before them."""
    survivors = [pair for pair in node.value if pair not in gone]
    last = node.value.index(survivors[-1]) if survivors else -1
    for place, pair in enumerate(node.value[: last + 1]):
        if pair in gone:
            yield Splice(pair[0].start_mark.index, node.value[place + 1][0].start_mark.index, "")
    if last + 1 < len(node.value):
        start = survivors[-1][1].end_mark.index if survivors else node.value[0][0].start_mark.index
        yield Splice(start, node.value[-1][1].end_mark.index, "")


def _without_line(text: str, key: Node, end: int, behind: Sequence[tuple[Node, Node]]) -> Splice:
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    if text[start : key.start_mark.index].strip():  # `- key: value`: the dash has to stay
        if not behind:
            raise UnchangeableError(f"{key_text(key)} is all that its list item has")
        return Splice(key.start_mark.index, behind[0][0].start_mark.index, "")
    stop = _line_end(text, end)
    return Splice(start, min(len(text), stop + len(_newline(text))), "")


def _remove_whole(text: str, parent: Node, name: str, node: MappingNode) -> Iterator[Splice]:
    """Take a mapping away of which nothing is left; comments between its lines stay."""
    found = entry(parent, name)
    if found is None or not isinstance(parent, MappingNode):
        raise UnchangeableError(f"{name} would be left empty")
    if parent.flow_style or node.flow_style:
        yield from _remove(text, parent, [found])
        return
    place = parent.value.index(found)
    yield _without_line(text, found[0], found[0].end_mark.index, parent.value[place + 1 :])
    for key, value in node.value:
        yield _without_line(text, key, value.end_mark.index, ())


def _written(node: MappingNode, entries: Entries, key: Node, value: Node) -> list[str]:
    """Entries in the place of an old one, quoted as it was."""
    lines = []
    for name, one in entries.items():
        text = _flow(one) if node.flow_style else _scalar(one)
        if isinstance(value, ScalarNode) and value.style in {"'", '"'}:
            text = _quoted(str(one), value.style)
        style = key.style if isinstance(key, ScalarNode) else None
        lines.append(f"{_quoted(name, style)}: {text}")
    return lines


def _quoted(text: str, style: str | None) -> str:
    if style == "'" and "'" not in text:
        return f"'{text}'"
    return json.dumps(text) if style else text


def _block(name: str, value: Value) -> list[str]:
    if not isinstance(value, dict):
        return [f"{name}: {_scalar(value)}"]
    inner = [line for key, each in value.items() for line in _block(key, each)]
    return [f"{name}:", *("  " + line for line in inner)]


def _scalar(value: Value) -> str:
    """A plain text only where YAML reads it as that text."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value)


def _flow(value: Value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_flow(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)


def _flow_key(node: MappingNode, name: str) -> str:
    return name if any(key.style is None for key, _ in node.value) else json.dumps(name)


def _separator(text: str, node: MappingNode, key: Node) -> str:
    return ", " if node.flow_style else _newline(text) + " " * _column(key)


def _column(key: Node) -> int:
    return int(key.start_mark.column)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end
