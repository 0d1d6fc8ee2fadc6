"""From blocks of bytes as they come off the network to whole lines, however long and however cut."""

DEFAULT_MAX_LINE_BYTES = 32 * 2**20
"""Far above what an API server stores (1.5 MiB an object by default); a bound all the same."""


class LineTooLongError(ValueError):
    """A line passed the bound; the message gives both sizes."""


class LineSplitter:
    """Collects blocks and gives out the lines that are complete, without their line ends; empty lines are dropped.

    Costs one join a line: a long line that comes in many blocks is not copied again and again.
    """

    def __init__(self, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._pending_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """Size of the line that has begun and not ended."""
        return self._pending_bytes

    def feed(self, block: bytes) -> list[bytes]:
        """Take one block and return the lines that it completes, in order.

        Raises:
            LineTooLongError: the line that has begun is already longer than the bound.
        """
        *ends, rest = block.split(b"\n")
        lines = []
        for end in ends:
            line = b"".join((*self._parts, end)) if self._parts else end
            self._parts.clear()
            self._pending_bytes = 0
            if line.strip():
                lines.append(line)
        if rest:
            self._parts.append(rest)
            self._pending_bytes += len(rest)
        if self._pending_bytes > self._max_line_bytes:
            raise LineTooLongError(
                f"a line of more than {self._pending_bytes} bytes: at most {self._max_line_bytes} are accepted"
            )
        return lines
