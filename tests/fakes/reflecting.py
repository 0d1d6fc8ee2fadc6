"""What a reflector is tested with: a sink that remembers, a clock that stands, and pauses that take no time."""

import threading
from collections.abc import Sequence

import msgspec


class StandingClock:
    """Monotonic seconds that move only when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class InstantEvent(threading.Event):
    """An event whose waits end at once and are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Remember `timeout`, do not wait."""
        if timeout is not None:
            self.pauses.append(timeout)
        return self.is_set()


class RecordingSink:
    """Keeps what a real sink would keep (name -> version of each object), and every call in order."""

    def __init__(self, *, fail_on: str | None = None, failing_lists: int = 0) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.objects: dict[str, int] = {}
        self.raw: list[bytes] = []
        self._fail_on = fail_on
        self._failing_lists = failing_lists

    def read(self, items: Sequence[bytes]) -> Sequence[bytes]:
        """Keep the JSON as it is."""
        return items

    def replaced(self, items: Sequence[bytes], resource_version: str) -> None:
        """Swap everything."""
        if self._failing_lists:
            self._failing_lists -= 1
            raise RuntimeError("the sink is not ready")
        self.objects = dict(_name_and_version(item) for item in items)
        self.raw.extend(items)
        self.calls.append(("replaced", resource_version, *self.objects))

    def take(self, _line: bytes) -> str:
        """Nothing: see each change step by step."""
        return ""

    def changed(self, kind: str, raw: bytes) -> None:
        """Apply one change."""
        name, version = _name_and_version(raw)
        if name == self._fail_on:
            raise RuntimeError("the sink does not like this one")
        if kind == "DELETED":
            self.objects.pop(name, None)
        else:
            self.objects[name] = version
        self.raw.append(raw)
        self.calls.append((kind, name, str(version)))


class TakingSink(RecordingSink):
    """Takes whole lines, as the sink of pods does, but for those that name `leave` anywhere."""

    def __init__(self, *, leave: str = "", fail_on: str | None = None) -> None:
        super().__init__(fail_on=fail_on)
        self._leave = leave.encode()
        self.lines: list[bytes] = []

    def take(self, line: bytes) -> str:
        """Apply the line's change."""
        body = msgspec.json.decode(line)
        if body["type"] not in {"ADDED", "MODIFIED", "DELETED"} or (self._leave and self._leave in line):
            return ""
        self.changed(body["type"], msgspec.json.encode(body["object"]))
        self.lines.append(line)
        return str(body["object"]["metadata"]["resourceVersion"])


def _name_and_version(raw: bytes) -> tuple[str, int]:
    metadata = msgspec.json.decode(raw)["metadata"]
    return metadata["name"], int(metadata["resourceVersion"])
