"""Take JSON apart that a decoder refuses as a whole, so that one bad object does not hide the others around it.

A decoder gives up on a list of 500 pods when one of them nests too deep or has a bad byte. What is here only follows
brackets, commas and strings, in a loop and not by recursion, so that it copes with anything whose brackets match.
It is a hundred times slower than the decoder, and is only used where that has failed.
"""

import re
from collections.abc import Iterator

Span = tuple[int, int]

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NEXT_MARK = re.compile(rb'(?:[^"\[\]{},:]++|%b)*+([\[\]{},:"])' % _STRING, re.DOTALL)
_NEXT_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|%b)*+([\[\]{}"])' % _STRING, re.DOTALL)
_MANAGED_FIELDS = re.compile(rb'(?<!\\)"managedFields":\s*\[')
"""Only a key can look so: a quote inside a string follows a backslash."""

_BLANK = b" \t\r\n"


def elements(raw: bytes) -> list[bytes]:
    """The values of a JSON array.

    Raises:
        ValueError: not an array whose brackets match.
    """
    return [raw[start:end] for _, (start, end) in _parts(raw, 0, b"[")]


def members(raw: bytes) -> dict[str, bytes]:
    """The values of a JSON object by key.

    Raises:
        ValueError: not an object whose brackets match.
    """
    return {_key(raw, key): raw[start:end] for key, (start, end) in _parts(raw, 0, b"{")}


def without_managed_fields(raw: bytes) -> bytes:
    """Objects' JSON with null for every `managedFields`, which nothing here reads; as it is where that has no end.

    They are the one part of a Node or a Pod that nests as deep as its writer likes: any tenant could make its own pod
    unreadable with them, and so the GPU memory that it holds unknown.
    """
    kept, at = [], 0
    try:
        for found in _MANAGED_FIELDS.finditer(raw):
            if found.start() >= at:
                start = found.end() - 1
                kept.append(raw[at:start])
                at = _end(raw, start)
    except ValueError:
        return raw
    return b"null".join([*kept, raw[at:]])


def _end(raw: bytes, start: int) -> int:
    """Where the array or object that begins at `start` has ended."""
    depth, at = 0, start
    while found := _NEXT_BRACKET.match(raw, at):
        at, mark = found.end(), found[1]
        if mark == b'"':
            break
        depth += 1 if mark in b"{[" else -1
        if depth == 0:
            return at
    raise ValueError(f"the brackets that open at byte {start} do not close")


def _parts(raw: bytes, at: int, opening: bytes) -> Iterator[tuple[Span, Span]]:
    """Where the key and the value of each part lie in the array or object that begins at `at`; no key in an array."""
    while raw[at : at + 1] and raw[at] in _BLANK:
        at += 1
    if raw[at : at + 1] != opening:
        raise ValueError(f"expected {opening.decode()!r} at byte {at}")
    depth, start, key, place = 1, at + 1, (at, at), at + 1
    while found := (_NEXT_MARK if depth == 1 else _NEXT_BRACKET).match(raw, place):
        place, mark = found.end(), found[1]
        before = place - 1
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth == 0:
                if raw[start:before].strip():
                    yield key, _stripped(raw, start, before)
                return
        elif mark == b'"':
            raise ValueError(f"the string that begins at byte {before} has no end")
        elif mark == b",":
            yield key, _stripped(raw, start, before)
            start = place
        else:
            key, start = _stripped(raw, start, before), place
    raise ValueError(f"the brackets that open at byte {at} do not close")


def _stripped(raw: bytes, start: int, end: int) -> Span:
    while start < end and raw[start] in _BLANK:
        start += 1
    while end > start and raw[end - 1] in _BLANK:
        end -= 1
    return start, end


def _key(raw: bytes, span: Span) -> str:
    """A key as text; the keys that are looked for need no escapes."""
    return raw[span[0] : span[1]].decode("utf-8", "replace").strip('"')
