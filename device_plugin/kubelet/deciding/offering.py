"""Decides what the kubelet is told of devices that containers hold, and of the NUMA nodes of GPUs.

The kubelet subtracts unhealthy devices from what its node offers, and kube-scheduler subtracts from that what pods ask
for. So a device that a pod holds on a GPU out of service would count twice, the second time at the expense of the other
GPUs. Such devices are shown as healthy until their pod has ended: nobody else can get them as long as it has them, and
afterwards Allocate refuses them.

The kubelet aligns a container to a NUMA node with enough free devices, over all GPUs there. Of shares that says nothing
true of any single GPU, so their NUMA nodes are never told. Of whole GPUs it is true where no share is on them.
"""

from collections.abc import Collection, Iterable, Mapping

from device_plugin.gpus.devices import Showing, devices_of
from device_plugin.gpus.gpu import Gpus
from device_plugin.kubelet.deciding.attributing import Attribution, Grant
from device_plugin.kubelet.deciding.matching import Occupied
from device_plugin.pods.pod import BoundPod, ContainerKey
from device_plugin.settings import NumaHints, Resource


def showing_of(resource: Resource, gpus: Gpus, held: Collection[str], occupied: Occupied, hints: NumaHints) -> Showing:
    """What the kubelet is told of one resource; `held` are the devices that pods hold, as `held_by_pods` finds them."""
    kept: frozenset[str] = frozenset()
    if not all(sample.healthy for sample in gpus):
        kept = frozenset(each.id for each in devices_of(resource, gpus) if not each.healthy and each.id in held)
    if resource is not Resource.WHOLE or hints is NumaHints.NONE:
        return Showing(kept)
    return Showing(kept, frozenset(sample.uuid for sample in gpus if sample.uuid not in occupied.shared))


def held_by_pods(
    resource: Resource, attribution: Attribution, grants: Iterable[Grant], pods: Mapping[str, BoundPod]
) -> frozenset[str]:
    """The devices of pods that kube-scheduler counts on this node: those that have not ended.

    Where the pod is not known, the kubelet is believed that it is there.
    """

    def lives(key: ContainerKey | None) -> bool:
        return key is None or ((pod := pods.get(key.uid)) is not None and not pod.ended)

    found: set[str] = set()
    for (key, kind), ids in attribution.held.items():
        if kind is resource and lives(key):
            found |= ids
    for entry in attribution.unattributed:
        if entry.resource is resource:
            found |= entry.ids
    for grant in grants:
        if grant.resource is resource and lives(grant.key):
            found |= grant.ids
    return frozenset(found)
