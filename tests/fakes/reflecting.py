"""What a reflector is tested with: a sink that remembers, a clock that stands, and pauses that take no time."""

import threading
from collections.abc import Sequence
from typing import Any

from extender.kube.objects import Camel, DecodeError, Identity, reader_of


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
        self.unreadable: list[Identity] = []
        self._fail_on = fail_on
        self._failing_lists = failing_lists

    def read(self, raw: bytes) -> bytes:
        """Keep the JSON as it is, of what has a name and a version."""
        _name_and_version(raw)
        return raw

    def replaced(
        self, records: Sequence[bytes], unreadable: Sequence[Identity], resource_version: str, *, rewound: bool
    ) -> None:
        """Swap everything."""
        if self._failing_lists:
            self._failing_lists -= 1
            raise RuntimeError("the sink is not ready")
        self.objects = dict(_name_and_version(record) for record in records)
        self.raw.extend(records)
        self.unreadable = list(unreadable)
        self.calls.append(("rewound" if rewound else "replaced", resource_version, *self.objects))

    def changed(self, record: bytes) -> None:
        """Apply one change."""
        name, version = _name_and_version(record)
        if name == self._fail_on:
            raise RuntimeError("the sink does not like this one")
        self.objects[name] = version
        self.raw.append(record)
        self.calls.append(("changed", name, str(version)))

    def deleted(self, identity: Identity) -> None:
        """Forget one."""
        self.objects.pop(identity.name, None)
        self.calls.append(("deleted", identity.name, identity.resource_version))


class _Object(Camel):
    metadata: Identity
    spec: dict[str, Any]


_read = reader_of(_Object)


def _name_and_version(raw: bytes) -> tuple[str, int]:
    metadata = _read(raw).metadata
    if not metadata.resource_version.isdigit():
        raise DecodeError(f"resourceVersion is {metadata.resource_version!r}, expected a number")
    return metadata.name, int(metadata.resource_version)
