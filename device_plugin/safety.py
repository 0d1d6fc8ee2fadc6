"""From Settings to the parts that enforce shares and keep GPUs out of service, wired to each other and to the feed."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from extender.contract.units import GpuUuid

from .abilities import NvmlAbilities
from .draining import Drainer
from .enforcing import Enforcer
from .eventing import Events
from .gpu import GpuSource
from .healthnews import HealthNews
from .kubeapi import NodeApi
from .loops import Loops
from .mps import MpsControl
from .mps_proofs import MpsProofs
from .neighbours import Neighbours
from .nodewatch import CordonWatch
from .nvml import load_pynvml
from .overuse import OveruseRecord
from .podresources import PodResources
from .podstore import PodStore
from .policing import Police
from .probation import Probation
from .sampling import GpuFeed
from .settings import Settings
from .supervising import SupervisedSource
from .usage import UsageReader


@dataclass(frozen=True, slots=True)
class Safety:
    """The parts of one plugin that look after shares and GPUs; `feed` offers what they let through."""

    feed: GpuFeed
    events: Events
    enforcer: Enforcer
    neighbours: Neighbours
    cordons: CordonWatch
    health_news: HealthNews
    police: Police | None
    drainer: Drainer | None

    def start(self, loops: Loops) -> None:
        """Start their loops, all but the feed's."""
        loops.start("events", self.events.run)
        loops.start("health-news", self.health_news.run)
        loops.start("enforcement", self.enforcer.run)
        loops.start("neighbours", self.neighbours.run)
        if self.police is not None:
            loops.start("police", self.police.run)
        if self.drainer is not None:
            loops.start("drainer", self.drainer.run)


def build_safety(
    settings: Settings,
    source: GpuSource,
    *,
    api: NodeApi,
    pods: PodStore,
    podresources: PodResources,
    due: threading.Event,
    usage: UsageReader | None = None,
    guests: Callable[[], Mapping[GpuUuid, Collection[str]]] = dict,
) -> Safety:
    """Put the parts together.

    Args:
        settings: of the plugin.
        source: the GPUs as they are.
        api: the API server.
        pods: the node's pods.
        podresources: the kubelet's account.
        due: asks the feed for a sample.
        usage: who measures what containers use; None where nobody does.
        guests: UIDs of the pods that were measured on a GPU of which they hold nothing.
    """
    guards, unit_mib = settings.safeguards, settings.memory_unit_mib
    pipe = guards.mps_pipe_directory
    events = Events(api, settings.node_name)
    mps = None if pipe is None else MpsControl(pipe, guards.mps_control)
    enforcer = Enforcer(
        best=guards.enforcement,
        abilities=NvmlAbilities(load_pynvml, guards.cgroup_root) if settings.gpus == "nvml" else None,
        mps=mps,
        proofs=None if pipe is None or mps is None else MpsProofs(mps, pipe, settings.proc_root),
        usage=usage,
        pods=pods,
        unit_mib=unit_mib,
        interval_s=guards.probe_interval_s,
        on_change=due.set,
        events=events,
    )
    supervised = SupervisedSource(source, enforcer, Probation(guards.probation_s))
    feed = GpuFeed(supervised, unit_mib, settings.sample_interval_s, due)
    police = None
    if usage is not None:
        police = Police(
            usage=usage,
            pods=pods,
            unit_mib=unit_mib,
            record=OveruseRecord(guards.overuse_grace_s, guards.overuse_tolerance_mib),
            events=events,
            api=api if guards.evict_overuse else None,
            interval_s=min(5.0, max(0.05, guards.overuse_grace_s / 4)),
        )
    return Safety(
        feed=feed,
        events=events,
        enforcer=enforcer,
        neighbours=Neighbours(
            podresources=podresources,
            source=supervised,
            feed=feed,
            events=events,
            interval_s=settings.reconcile_interval_s,
            guests=guests,
            rival=pods.rival,
        ),
        cordons=CordonWatch(
            node_name=settings.node_name, names=settings.names, source=supervised, feed=feed, events=events
        ),
        health_news=HealthNews(feed, pods, events),
        police=police,
        drainer=None if mps is None or usage is None else Drainer(mps=mps, usage=usage, pods=pods),
    )
