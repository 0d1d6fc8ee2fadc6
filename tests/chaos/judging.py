"""Judges a cluster after a fault: does all that fits run, does the extender see what there is, is it in order."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import urllib3

from bench.simulated.client import ClusterClient
from tests.chaos.world.cluster import ChaosCluster
from tests.chaos.world.following import PodStory
from tests.chaos.world.load import Load
from tests.chaos.world.picturing import differences, take_picture
from tests.chaos.world.process_use import ProcessUse

_POLL_S = 0.1
_QUIET_POLLS = 3


@dataclass(frozen=True, slots=True)
class Growth:
    """How much more than before a process may use: threads, descriptors, MiB."""

    threads: int
    descriptors: int
    rss_mib: float


FIRST_RUN = Growth(threads=70, descriptors=100, rss_mib=24.0)
"""The first fault fills what is kept: a pool of 64 threads for binds, and as many connections to the API server."""

LATER_RUNS = Growth(threads=20, descriptors=20, rss_mib=8.0)
"""The same fault once more brings little that is new, so what is left behind each time adds up to more than this."""


def unrest(cluster: ChaosCluster) -> list[str]:
    """What keeps the cluster from being at rest at this moment; empty when nothing does."""
    picture = take_picture(cluster.client)
    found = [f"pod {name} has room and no node" for name in picture.would_fit()]
    try:
        status, answer = cluster.extender.get("/readyz")
        if status != 200:
            found.append(f"/readyz answers {status}: {answer.decode(errors='replace').strip()}")
        found += differences(picture, cluster.extender.get("/v1/nodes")[1])
    except urllib3.exceptions.HTTPError as error:
        found.append(f"the extender does not answer: {error}")
    return found


def settle(cluster: ChaosCluster, since_s: float, within_s: float) -> tuple[float, list[str]]:
    """Wait until the cluster is at rest; seconds since `since_s`, and what still kept it from that when time was up."""
    quiet = 0
    rest_s = time.monotonic()
    while True:
        problems = unrest(cluster)
        now_s = time.monotonic()
        quiet = 0 if problems else quiet + 1
        if quiet == 1:
            rest_s = now_s
        if quiet >= _QUIET_POLLS:
            return rest_s - since_s, []
        if problems and now_s - since_s > within_s:
            return now_s - since_s, problems
        time.sleep(_POLL_S)


def slowest_bind_s(cluster: ChaosCluster, healed_s: float) -> float:
    """The longest time from the end of the fault to the bind of a pod that waited then; 0 when none did."""
    waits = [
        story.bound_s - healed_s
        for story in cluster.stories()
        if story.seen_s <= healed_s and story.bound_s is not None and story.bound_s > healed_s
    ]
    return max(waits, default=0.0)


def fates(cluster: ChaosCluster, load: Load) -> Counter[str]:
    """How many pods are bound, pending, ended, rejected by a kubelet, preempted, or lost."""
    stories = {story.uid: story for story in cluster.stories()}
    expected = load.deleted | cluster.undone | _preempted(cluster.client)
    found: Counter[str] = Counter(created=len(load.created))
    for uid in load.created:
        story = stories.get(uid)
        if story is None:
            found["lost"] += 1
            continue
        found["ever bound"] += story.bound_s is not None
        found["rejected"] += _is_rejected(story)
        if story.gone_s is not None:
            known = uid in expected or story.pod["metadata"].get("deletionTimestamp")
            found["ended" if known else "lost"] += 1
        elif story.is_done:
            found["ended"] += 1
        else:
            found["bound" if story.bound_s is not None else "pending"] += 1
    return found


def rejections(cluster: ChaosCluster) -> Iterator[str]:
    """The first pod that a kubelet refused, and the last ones that its node got before."""
    stories = cluster.stories()
    first = min((story for story in stories if _is_rejected(story)), key=lambda story: story.bound_s or 0, default=None)
    if first is None or first.bound_s is None:
        return
    node = first.pod["spec"]["nodeName"]
    yield f"pod {first.name} was refused by {node}: {first.pod['status'].get('message')}; {_annotations(first)}"
    before = [
        story
        for story in stories
        if story.bound_s and story.bound_s < first.bound_s and story.pod["spec"].get("nodeName") == node
    ]
    for story in sorted(before, key=lambda story: story.bound_s or 0)[-4:]:
        gone_s = None if story.gone_s is None else story.gone_s - first.bound_s
        phase = story.pod["status"].get("phase")
        yield f"before it {story.name}, {phase}, gone {gone_s} s after; {_annotations(story)}"


def warnings(client: ClusterClient) -> Counter[str]:
    """Warnings on pods by reason, those left out that only say that there is no room."""
    found: Counter[str] = Counter()
    for event in client.list_all("/api/v1/events")[0]:
        if event["type"] != "Warning":
            continue
        if event["reason"] == "FailedScheduling" and "nodes are available" in event["message"]:
            continue
        found[event["reason"]] += event.get("count") or 1
    return found


def tracebacks(log: Path) -> list[str]:
    """The last lines of the tracebacks in a log: errors that nobody expected."""
    found = []
    inside = False
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("Traceback (most recent call last)") or "Traceback (most recent" in line:
            inside = True
        elif inside and line and not line.startswith((" ", "\t")):
            inside = False
            found.append(line)
    return found


def leaks(before: ProcessUse, after: ProcessUse, allowed: Growth) -> Iterator[str]:
    """What a process uses more than it may."""
    if after.threads > before.threads + allowed.threads:
        yield f"{after.threads} threads, before {before.threads}"
    if after.descriptors > before.descriptors + allowed.descriptors:
        yield f"{after.descriptors} descriptors, before {before.descriptors}"
    if after.rss_mib > before.rss_mib + allowed.rss_mib:
        yield f"{after.rss_mib:.0f} MiB, before {before.rss_mib:.0f}"


def _preempted(client: ClusterClient) -> set[str]:
    events = client.list_all("/api/v1/events")[0]
    return {event["involvedObject"]["uid"] for event in events if event["reason"] == "Preempted"}


def _is_rejected(story: PodStory) -> bool:
    return story.rejection.startswith(("Unexpected", "OutOf"))


def _annotations(story: PodStory) -> str:
    return str(story.pod["metadata"].get("annotations"))
