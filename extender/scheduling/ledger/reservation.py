"""Defines the room that is charged for a pod before any event shows it there."""

from msgspec import Struct

from extender.scheduling.ledger.binding import Plan
from extender.scheduling.nodes.node import Hold, Holder


class Reservation(Struct, frozen=True, gc=False):
    """Room that no event backs yet: an assumption, which has no `expires_s`, a hold or a claim.

    `resource_version` is the pod's version when it was made, `since_s` the caller's clock then, `plan` what the
    Binding says or would say, `repeated` whether the pod had passed filter shortly before and not come to bind,
    `waits` whether the pod was nominated to its node then or since: if not bound, it will be said that it no longer is.
    """

    node: str
    holder: Holder
    resource_version: int
    expires_s: float | None = None
    since_s: float = 0.0
    plan: Plan | None = None
    repeated: bool = False
    waits: bool = False

    @property
    def assumed(self) -> bool:
        """Whether a Binding for it is on its way: it may have been written."""
        return self.holder.hold is Hold.ASSUMED

    @property
    def held(self) -> bool:
        """Whether it has passed filter, and kube-scheduler has not asked to bind it yet."""
        return self.holder.hold is Hold.HELD

    @property
    def claimed(self) -> bool:
        """Whether pods are being evicted for it, so that others may still hold the room."""
        return self.holder.hold is Hold.CLAIMED
