"""Reads which PersistentVolumeClaims a pod has, and for which node the volume of a claim is being made.

What kube-scheduler writes on a claim of a storage class with WaitForFirstConsumer, and what it waits for then, is from
k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding/binder.go (bindAPIUpdate and checkBindings). Where it
binds a volume that exists already, it writes on the volume alone; that takes the volume controller moments only.
"""

from extender.kube.objects import Camel, Identity, Metadata, Present, reader_of

SELECTED_NODE = "volume.kubernetes.io/selected-node"
_BOUND = "Bound"


class _ClaimSource(Camel):
    claim_name: str = ""


class _PodVolume(Camel):
    name: str = ""
    persistent_volume_claim: _ClaimSource | None = None
    ephemeral: Present | None = None


class _PodVolumes(Camel):
    volumes: list[_PodVolume] | None = None


class _VolumePod(Camel):
    metadata: Identity
    spec: _PodVolumes


class _ClaimStatus(Camel):
    phase: str = ""


class _Claim(Camel):
    metadata: Metadata
    status: _ClaimStatus | None = None


_read_pod = reader_of(_VolumePod)
_read_claim = reader_of(_Claim)


def claims_of(raw: bytes, uid: str) -> list[str]:
    """Names of the claims of a pod, given as its JSON; none when it is a namesake of the pod with this `uid`.

    Raises:
        DecodeError: not a Pod.
    """
    pod = _read_pod(raw)
    if pod.metadata.uid != uid:
        return []
    claims = []
    for volume in pod.spec.volumes or ():
        if volume.persistent_volume_claim is not None:
            claims.append(volume.persistent_volume_claim.claim_name)
        elif volume.ephemeral is not None:
            claims.append(f"{pod.metadata.name}-{volume.name}")
    return claims


def awaited_on(raw: bytes) -> str:
    """The node for which the volume of a claim, given as its JSON, is being made; empty when none is.

    Raises:
        DecodeError: not a PersistentVolumeClaim.
    """
    claim = _read_claim(raw)
    if claim.status is not None and claim.status.phase == _BOUND:
        return ""
    return claim.metadata.annotation(SELECTED_NODE) or ""
