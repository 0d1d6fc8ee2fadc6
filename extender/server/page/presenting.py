"""Renders the page and its sections as HTML.

It works only when somebody looks, at most once a second for what has changed, and in slices with pauses in between, so
that a filter call that comes meanwhile goes first.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from extender.kube.slices import Slices
from extender.scheduling.ledger.events import PodRecord
from extender.scheduling.nodes.snapshot import Snapshot
from extender.server.page import bars, picturing, pods, selecting
from extender.server.page.query import COLOURS, SORTS, STATES, Query
from extender.server.page.reasons import Reasons
from extender.server.page.tiles import LEVELS, Tile, Tiles
from extender.server.state.state import State

TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = ("summary", "map", "nodes", "pending", "decisions")
FRESH_S = 1.0
"""A view younger than this is not made again."""

SLICE_S = 0.001
PAUSE_S = 0.0002
"""Rendering pauses so long after each slice, so that other threads get the GIL."""

MAX_RENDERED = 24


@dataclass(frozen=True, slots=True)
class Html:
    """Bytes to send, and a text that changes when they do."""

    body: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class View:
    """What the sections of one moment are rendered from; `key` changes when any of it does."""

    key: tuple[object, ...]
    snapshot: Snapshot
    tiles: Sequence[Tile]
    pending: Sequence[PodRecord]
    problem: str


def large(units: int, unit_mib: int) -> str:
    """An amount for people: `8 GiB`, `1,928 GiB`, `48.3 TiB`."""
    gib = units * unit_mib / 1024
    return f"{gib / 1024:,.1f} TiB" if gib >= 10_000 else f"{gib:,.10g} GiB"


class Presenter:
    """Renders sections and caches those that did not change; safe to use from many threads.

    Args:
        state: the extender's state.
        problem: why the view of the cluster can't be trusted now, None when it can.
        clock: monotonic seconds.
        pause: called between the steps of long work, to let other threads run.
    """

    def __init__(
        self,
        state: State,
        problem: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[], None] | None = None,
    ) -> None:
        self._state = state
        self._problem = problem
        self._clock = clock
        self._pause = pause or Slices(SLICE_S, PAUSE_S).breathe
        self._tiles = Tiles(self._pause)
        self._reasons = Reasons(state.policy_of, self._pause)
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, auto_reload=False
        )
        self._lock = threading.Lock()
        self._view: View | None = None
        self._looked_s = 0.0
        self._rendered: OrderedDict[tuple[object, ...], Html] = OrderedDict()
        self._selected: tuple[tuple[object, ...], list[Tile]] | None = None

    def section(self, name: str, query: Query) -> Html:
        """One section; `name` is one of `SECTIONS`."""
        with self._lock:
            return self._section(name, query, self._now())

    def page(self, query: Query, style: str, script: str) -> Html:
        """The whole page."""
        with self._lock:
            view = self._now()
            sections = {name: self._section(name, query, view) for name in SECTIONS}
            key = ("page", query, *(section.tag for section in sections.values()))
            return self._remembered(
                key,
                lambda: self._render(
                    "page.html",
                    sections={name: section.body.decode() for name, section in sections.items()},
                    tags={name: section.tag for name, section in sections.items()},
                    query=query,
                    groups=[row.name for row in selecting.sums_by_group(view.tiles)],
                    states=STATES,
                    sorts=SORTS,
                    colours=COLOURS,
                    style=style,
                    script=script,
                ),
            )

    def _render(self, name: str, **values: object) -> str:
        parts: list[str] = []
        for part in self._templates.get_template(name).generate(values):
            parts.append(part)
            self._pause()
        return "".join(parts)

    def _now(self) -> View:
        now_s = self._clock()
        if self._view is None or now_s - self._looked_s >= FRESH_S:
            self._looked_s = now_s
            snapshot = self._state.snapshot()
            pending = self._state.pending()
            reported, _ = self._state.decisions.recent(0)
            problem = self._problem() or ""
            newest = max((pod.resource_version for pod in pending), default=0)
            key = (snapshot.generation, len(snapshot.nodes), len(pending), newest, reported, problem)
            if self._view is None or self._view.key != key:
                self._rendered.clear()
                self._view = View(key, snapshot, list(self._tiles.update(snapshot).values()), pending, problem)
        return self._view

    def _section(self, name: str, query: Query, view: View) -> Html:
        # A section that does not depend on the query is rendered once for all.
        asked = query if name in {"summary", "map", "nodes"} else Query()
        return self._remembered((name, asked, view.key), lambda: getattr(self, f"_{name}")(query, view))

    def _remembered(self, key: tuple[object, ...], render: Callable[[], str]) -> Html:
        known = self._rendered.get(key)
        if known is None:
            body = render().encode()
            known = self._rendered[key] = Html(body, blake2b(body, digest_size=12).hexdigest())
            if len(self._rendered) > MAX_RENDERED:
                self._rendered.popitem(last=False)
        self._rendered.move_to_end(key)
        return known

    def _select(self, query: Query, view: View) -> list[Tile]:
        """The nodes of the query, found once for all sections."""
        key = (query.q, query.group, query.state, query.sort, view.key)
        if self._selected is None or self._selected[0] != key:
            tiles = {tile.node.name: tile for tile in view.tiles}
            self._selected = (key, selecting.select(tiles, query, self._pause))
        return self._selected[1]

    def _summary(self, query: Query, view: View) -> str:
        unit_mib = self._state.unit_mib
        return self._render(
            "summary.html",
            all=selecting.sum_up("all", view.tiles),
            rows=selecting.sums_by_group(self._select(query, view)),
            troubled=sum(tile.troubled for tile in view.tiles),
            others=len(view.snapshot.nodes) - len(view.tiles),
            pending=len(view.pending),
            policy=self._state.policy.name,
            problem=view.problem,
            levels=LEVELS,
            query=query,
            amount=lambda units: large(units, unit_mib),
        )

    def _map(self, query: Query, view: View) -> str:
        selected = self._select(query, view)
        drawn = picturing.picture(selected, self._pause)
        return self._render("map.html", picture=drawn, levels=LEVELS, query=query, per_page=selecting.PAGE_NODES)

    def _nodes(self, query: Query, view: View) -> str:
        unit_mib = self._state.unit_mib
        page = selecting.page_of(self._select(query, view), query.page)
        colours = bars.palette(page.items, query.colour)
        return self._render(
            "nodes.html",
            page=page,
            cards=[bars.card(tile, colours) for tile in page.items],
            colours=colours,
            legend=bars.legend(colours),
            query=query,
            total=len(view.tiles),
            amount=lambda units: large(units, unit_mib),
            gib=lambda units: f"{units * unit_mib / 1024:g}",
            width=bars.WIDTH,
            chips=bars.MAX_CHIPS,
        )

    def _pending(self, _query: Query, view: View) -> str:
        why = self._reasons.on(view.snapshot)
        rows = pods.pending_rows(view.pending, self._state.decisions, why, self._state.unit_mib)
        return self._render("pending.html", rows=rows, total=len(view.pending))

    def _decisions(self, _query: Query, _view: View) -> str:
        total, latest = self._state.decisions.recent(pods.MAX_DECISIONS)
        rows = pods.decision_rows(latest, self._state.unit_mib)
        return self._render("decisions.html", rows=rows, total=total, since=self._state.decisions.since)
