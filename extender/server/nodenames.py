"""From the JSON of a list of node names to a collection that decodes it only when somebody looks at every name.

kube-scheduler sends thousands of names with each call, and a decision asks of two or three whether they are among them.
"""

from collections.abc import Collection, Iterator

import msgspec

_decode = msgspec.json.Decoder(list[str]).decode


_SHORT_BYTES = 24
"""Of the first name: to look through a list of longer ones takes longer than to decode it."""


class NodeNames(Collection[str]):
    """The names in a JSON list, in its order.

    Raises:
        msgspec.MsgspecError: on creation: not a list of strings.
        UnicodeDecodeError: the same, not UTF-8.
    """

    __slots__ = ("_count", "_names", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._names: list[str] | None = None
        if text.find(b'"', 2) <= _SHORT_BYTES and _is_plain(text, commas := text.count(b",")):
            self._count = commas + 1
        else:
            self._names = _decode(text)
            self._count = len(self._names)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __contains__(self, name: object) -> bool:
        if self._names is not None:
            return name in self._names
        if not isinstance(name, str) or not name[:1].isalnum():
            return name in self.all()  # a comma between two names stands between quotes, too
        return b'"%b"' % name.encode() in self._text

    def all(self) -> list[str]:
        """Every name."""
        if self._names is None:
            self._names = _decode(self._text)
        return self._names


def _is_plain(text: bytes, commas: int) -> bool:
    """Whether JSON is a list of one or more strings in which every quote ends or begins one, for sure.

    Without a backslash every string has two quotes. Without an object or a list inside, and with as many strings as
    commas and one more, there is a comma between each two strings and none in them, so every item is a string.
    """
    return (
        text.startswith(b'["')
        and b"\\" not in text
        and b"{" not in text
        and text.find(b"[", 1) < 0
        and text.count(b'"') == 2 * (commas + 1)
        and text.isascii()
    )
