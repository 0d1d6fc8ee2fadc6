"""Tells of pods that ask for GPUs and were placed past gpupack: one Event each.

Nobody chose their GPUs. They are charged to the emptiest GPUs of their node until the device plugin reports what the
kubelet gave them.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from extender.contract.units import GpuUuid
from extender.kube.events import News
from extender.scheduling.ledger.events import PodRecord

BYPASSED = "GpupackBypassed"
MAX_REMEMBERED = 20_000


class Bypasses:
    """Says of each such pod what happened, once; not safe to use from several threads.

    Args:
        ours: names of the schedulers that ask this extender; empty while they are not known, and nothing is said.
        charged: the GPUs that a pod of unknown place is charged to.
        announce: takes the Events, and returns at once.
        limit: pods that are remembered, those seen most recently.
    """

    def __init__(
        self,
        ours: Callable[[], Collection[str]],
        charged: Callable[[PodRecord], Collection[GpuUuid]],
        announce: Callable[[News], None],
        limit: int = MAX_REMEMBERED,
    ) -> None:
        self._ours = ours
        self._charged = charged
        self._announce = announce
        self._limit = limit
        self._told: OrderedDict[str, None] = OrderedDict()

    def seen(self, pods: Iterable[PodRecord]) -> None:
        """Look at pods as the watch shows them, after the ledger has taken them in."""
        ours = self._ours()
        if not ours:
            return
        for pod in pods:
            if not pod.node or pod.request is None or pod.ended or pod.scheduler in ours or _is_planned(pod):
                continue
            if pod.uid in self._told:
                self._told.move_to_end(pod.uid)
                continue
            self._told[pod.uid] = None
            if len(self._told) > self._limit:
                self._told.popitem(last=False)
            self._announce(self._news(pod, ours))

    def _news(self, pod: PodRecord, ours: Collection[str]) -> News:
        if pod.footprint is not None:
            gpus = f"The kubelet gave it {_listed({*pod.footprint.whole, *pod.footprint.shares})}."
        else:
            charged = self._charged(pod)
            which = f" ({_listed(charged)})" if charged else ""
            gpus = f"It is charged to the emptiest GPU of {pod.node}{which} until the device plugin reports."
        text = (
            f"Placed past gpupack, by {pod.scheduler} or by hand: nobody chose its GPUs. {gpus} "
            f"Create it with schedulerName: {' or '.join(sorted(ours))}."
        )
        # Each replica sees the pod, and sees it again after a restart.
        return News(pod.namespace, pod.name, pod.uid, "Warning", BYPASSED, text, once=True)


def _is_planned(pod: PodRecord) -> bool:
    """Whether the Binding brought an allocation: it alone says by which policy and when."""
    return bool(pod.policy or pod.placed_at)


def _listed(gpus: Iterable[GpuUuid]) -> str:
    return ", ".join(sorted(gpus))
