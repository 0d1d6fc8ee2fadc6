"""Says whether a pod prefers some of the nodes that fit it to others, in a way that kube-scheduler would score.

The pod's own preferences count: preferred node affinity, preferred pod affinity and anti-affinity, and topology spread
with `whenUnsatisfiable: ScheduleAnyway`. What kube-scheduler weighs for every pod, such as image locality, does not.
"""

import msgspec

from extender.kube.objects import ABSENT, Camel, PodSpec, Present, TopologySpreadConstraint


class _Preferring(Camel):
    """NodeAffinity, PodAffinity or PodAntiAffinity, what is preferred of it."""

    preferred: list[Present] | None = msgspec.field(
        default=None, name="preferredDuringSchedulingIgnoredDuringExecution"
    )


class _Affinity(Camel):
    """Affinity, what is preferred of it."""

    node_affinity: _Preferring | None = None
    pod_affinity: _Preferring | None = None
    pod_anti_affinity: _Preferring | None = None


_decode_affinity = msgspec.json.Decoder(_Affinity | None).decode
_decode_constraints = msgspec.json.Decoder(list[TopologySpreadConstraint] | None).decode


def prefers(spec: PodSpec) -> bool:
    """Whether the pod states a preference.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError: fields of another form than the API's.
    """
    return (spec.affinity is not ABSENT and _in_affinity(spec.affinity)) or (
        spec.topology_spread_constraints is not ABSENT and _in_spread(spec.topology_spread_constraints)
    )


def _in_affinity(raw: msgspec.Raw) -> bool:
    affinity = _decode_affinity(raw)
    if affinity is None:
        return False
    kinds = (affinity.node_affinity, affinity.pod_affinity, affinity.pod_anti_affinity)
    return any(kind is not None and kind.preferred for kind in kinds)


def _in_spread(raw: msgspec.Raw) -> bool:
    return any(each.when_unsatisfiable == "ScheduleAnyway" for each in _decode_constraints(raw) or ())
