"""Whatever single objects are, the others arrive, by list and by watch, and what is left out is counted and logged."""

import json
import logging
import threading
from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extender.kube.objects import Identity
from extender.kube.reflector import Reflector, ReflectorSettings
from extender.kube.watchstream import Lines
from tests.extender.api_calls import PODS
from tests.fakes.api_server import bookmark, event, pod, pod_list
from tests.fakes.reflecting import InstantEvent, RecordingSink

PLACE = "@object@"


class Canned:
    """A source with one list page, one watch of the lines given, and nothing after it until it is stopped."""

    def __init__(self, page: bytes, lines: list[bytes]) -> None:
        self._page = page
        self._watches = deque([lines])
        self.watched: list[str] = []
        self.finished = threading.Event()

    def list_page(self, _path: str, limit: int, _token: str, _timeout_s: float, _max_bytes: int | None = None) -> bytes:
        """The page; who asks for one object wants the version of now."""
        return self._page if limit > 1 else text(pod_list(1000, []))

    def watch(self, _path: str, resource_version: str, _timeout_s: float, _silence_s: float) -> Lines:
        """The lines, then nothing."""
        self.watched.append(resource_version)
        if self._watches:
            return CannedLines(self._watches.popleft())
        self.finished.set()
        return SilentLines()


class CannedLines:
    """An open watch."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = deque(lines)

    def __next__(self) -> bytes:
        if not self._lines:
            raise StopIteration
        return self._lines.popleft()

    @property
    def at_hand(self) -> bool:
        """Always."""
        return True

    def abort(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


class SilentLines(CannedLines):
    """An open watch on which nothing comes until it is aborted."""

    def __init__(self) -> None:
        super().__init__([])
        self._aborted = threading.Event()

    def __next__(self) -> bytes:
        assert self._aborted.wait(30.0)
        raise StopIteration

    def abort(self) -> None:
        """End it."""
        self._aborted.set()


def reflected(page: bytes, lines: list[bytes]) -> tuple[RecordingSink, Reflector[bytes], Canned]:
    """What a sink has got when the lines are used up."""
    source, sink, stopping = Canned(page, lines), RecordingSink(), InstantEvent()
    reflector = Reflector(source, PODS, sink, settings=ReflectorSettings(steady_s=0.0), stopping=stopping)
    reflector.start()
    assert source.finished.wait(30.0)
    assert reflector.stop(30.0)
    return sink, reflector, source


def text(body: object) -> bytes:
    """As Go encodes it: without blanks."""
    return json.dumps(body, separators=(",", ":")).encode()


def broken_pods(name: str, version: int) -> st.SearchStrategy[bytes]:
    """A pod that no decoder takes, in brackets that match."""
    good = pod(name, version)
    deep = b"[" * 3000 + b"]" * 3000
    wrong: list[Any] = [
        good | {"spec": 3},
        good | {"metadata": good["metadata"] | {"name": ["list"]}},
        good | {"metadata": good["metadata"] | {"resourceVersion": 3}},
        {"spec": {}},
        None,
        7,
        "a pod",
        [],
    ]
    parts = [
        b'{"metadata":{"name":"\xff","uid":"u"},"spec":{}}',
        b'{"metadata":{"name":"x\x00","uid":"u"},"spec":{}}',
        b'{"metadata":{"name":"\\q","uid":"u"},"spec":{}}',
        b'{"metadata":{},"spec":nul}',
        text(good)[:-1] + b',"x":%b}' % deep,
        text(good).replace(b'"spec":{', b'"spec":{"x":%b,' % deep),
    ]
    return st.sampled_from([text(each) for each in wrong] + parts)


@st.composite
def pods(draw: st.DrawFn) -> list[tuple[str, bytes | None]]:
    """Names, and the bytes of those that are broken."""
    count = draw(st.integers(1, 8))
    return [
        (f"p{at}", draw(st.none() | broken_pods(f"p{at}", at + 51)))
        for at in range(count)
    ]  # fmt: skip


@given(pods())
def test_the_readable_objects_of_a_page_arrive(objects: list[tuple[str, bytes | None]]) -> None:
    """N objects of which k are broken: n - k arrive, k are counted and given to the sink as unreadable."""
    items = [broken if broken is not None else text(pod(name, at + 1)) for at, (name, broken) in enumerate(objects)]
    page = text(pod_list(50, [PLACE])).replace(text(PLACE), b",".join(items))
    sink, reflector, source = reflected(page, [])
    assert [name for name, broken in objects if broken is None] == list(sink.objects)
    expected = sum(broken is not None for _, broken in objects)
    assert (expected, expected) == (reflector.counts.unreadable, len(sink.unreadable))
    assert source.watched == ["50", "50"]


@given(pods(), st.sampled_from([b"", b"%%%", b'{"type":"ADDED","object":', b"\xff\xfe", b"[]"]))
def test_the_readable_objects_of_a_watch_arrive(objects: list[tuple[str, bytes | None]], garbage: bytes) -> None:
    """Also beside a line that is no event at all; the watch goes on to its end, from which the next one goes on."""
    lines = [
        text(event("ADDED", PLACE)).replace(
            text(PLACE), broken if broken is not None else text(pod(name, at + 51))
        )
        for at, (name, broken) in enumerate(objects)
    ]  # fmt: skip
    end = [text(event("ADDED", pod("last", 98))), text(bookmark(99))]
    sink, reflector, _ = reflected(text(pod_list(50, [])), [*lines, *([garbage] if garbage else []), *end])
    swapped = [call for call in sink.calls if call[0] == "changed"]
    assert [*(name for name, broken in objects if broken is None), "last"] == [name for _, name, _ in swapped]
    expected = sum(broken is not None for _, broken in objects) + bool(garbage)
    assert expected == reflector.counts.unreadable


def test_deep_managed_fields_hide_no_pod() -> None:
    """What any tenant may write (1,500 levels, 14 kB) does not make its pod unreadable, nor its neighbours."""
    deep = b'{"f:a":' * 1500 + b"{}" + b"}" * 1500
    nested = text(pod("deep", 2)).replace(b'"name"', b'"managedFields":[%b],"name"' % deep)
    page = text(pod_list(50, [pod("a", 1), PLACE, pod("b", 3)])).replace(text(PLACE), nested)
    line = text(event("MODIFIED", PLACE)).replace(text(PLACE), nested.replace(b'"2"', b'"60"'))
    sink, reflector, source = reflected(page, [line])
    assert (sink.objects, reflector.counts.unreadable) == ({"a": 1, "deep": 60, "b": 3}, 0)
    assert source.watched == ["50", "60"]


def test_an_unreadable_change_moves_the_version_and_is_followed_by_no_list() -> None:
    """A tenant that keeps on writing such pods makes no relists; a deletion is known although it cannot be read."""
    deep = text(pod("gone", 51)).replace(b'"spec":{', b'"spec":{"x":%b,' % (b"[" * 3000 + b"]" * 3000))
    lines = [text(event(kind, PLACE)).replace(text(PLACE), deep) for kind in ("MODIFIED", "DELETED")]
    sink, reflector, source = reflected(text(pod_list(50, [pod("gone", 1)])), lines)
    assert sink.calls == [("replaced", "50", "gone"), ("deleted", "gone", "51")]
    assert (reflector.counts.unreadable, reflector.counts.lists, source.watched) == (1, 1, ["50", "51"])


def test_the_sink_learns_which_objects_cannot_be_read(caplog: Any) -> None:
    """As far as they say so; a page of them makes few log lines."""
    items = [text(pod(f"p{at}", at)).replace(b'"spec":{', b'"spec":["\xff",{') for at in range(20)]
    page = text(pod_list(50, [PLACE])).replace(text(PLACE), b",".join(item[:-1] + b"]}" for item in items))
    sink, reflector, _ = reflected(page, [])
    assert sink.unreadable == [Identity("team", f"p{at}", f"uid-p{at}", str(at)) for at in range(20)]
    assert reflector.counts.unreadable == 20
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 3
    assert errors[0].startswith(f"{PODS}: team/p0 cannot be read and is left out: ")
