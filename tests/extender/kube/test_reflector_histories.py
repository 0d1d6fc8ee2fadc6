"""However a history is cut into watched and listed stretches, the view ends in the same state."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.kube.reflector import ReflectorSettings
from tests.extender.worlds import world
from tests.fakes.api_server import Exchange, Step, event, listing, pod, status_object, wait_until


@settings(max_examples=40, deadline=None)
@given(
    changes=st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=24),
    cuts=st.lists(st.tuples(st.integers(0, 24), st.sampled_from(["end", "break", "gone", "garbage"])), max_size=5),
    page_size=st.integers(2, 4),
)
def test_a_relist_and_a_watch_lead_to_the_same_state(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, bool]],
    cuts: list[tuple[int, str]],
    page_size: int,
) -> None:
    """However a history is cut into watched and listed stretches, the sink ends with the objects that there are."""
    history = History(changes)
    small = ReflectorSettings(page_size=page_size, list_timeout_s=30.0, silence_s=30.0)
    with world(tmp_path_factory.mktemp("world"), reflector_settings=small) as here:
        # A list for the start and after each cut, in pages of one object at the least.
        here.server.on_list(*[history.answer_list] * (len(cuts) + 1) * 5)
        here.server.on_watch(*[history.watch_until(upto, fault) for upto, fault in sorted(cuts)])
        here.server.on_watch(history.watch_until(len(changes), "hang"))
        here.start()
        expected = history.objects_at(len(changes))
        assert wait_until(lambda: here.server.of("watch")[len(cuts) :] != [] and expected == here.sink.objects)


class History:
    """What happened to a few objects, served as lists and as watches that are cut where a test says.

    Change number n has version n + 1 (the empty state has version 1, a change the next).
    """

    def __init__(self, changes: Sequence[tuple[str, bool]]) -> None:
        self._states: list[dict[str, int]] = [{}]
        self._events: list[dict[str, object]] = []
        self._happened = 0
        for version, (name, present) in enumerate(changes, start=2):
            state = dict(self._states[-1])
            kind = ("MODIFIED" if name in state else "ADDED") if present else "DELETED"
            if present:
                state[name] = version
            else:
                state.pop(name, None)
            self._states.append(state)
            self._events.append(event(kind, pod(name, version)))

    def objects_at(self, changes: int) -> dict[str, int]:
        """Name and version of what there is after so many changes."""
        return self._states[changes]

    def answer_list(self, exchange: Exchange) -> None:
        """One page of the state of now, or of the moment that the continue token names."""
        at, _, start = exchange.request.query.get("continue", f"{self._happened}/0").partition("/")
        limit = int(exchange.request.query["limit"])
        items = [pod(name, version) for name, version in sorted(self._states[int(at)].items())]
        upto = int(start) + limit
        listing(int(at) + 1, items[int(start) : upto], f"{at}/{upto}" if upto < len(items) else "")(exchange)

    def watch_until(self, upto: int, fault: str) -> Step:
        """A watch that sends what has happened since the version asked for, up to change `upto`, then fails."""

        def step(exchange: Exchange) -> None:
            self._happened = max(self._happened, min(upto, len(self._events)))
            seen = int(exchange.request.query["resourceVersion"]) - 1
            exchange.open_stream()
            exchange.send(*self._events[seen : self._happened])
            if fault == "end":
                exchange.end_stream()
            elif fault == "break":
                exchange.send(b'{"type":')
                exchange.reset()
            elif fault == "gone":
                exchange.send(event("ERROR", status_object(410, "Expired")))
                exchange.hang_up()
            elif fault == "garbage":
                exchange.send(b"}{\n")
                exchange.hang_up()
            else:
                exchange.hang()

        return step
