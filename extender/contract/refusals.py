"""Names the reasons for which a scheduler extender answers no call.

kube-scheduler writes the sentence into the condition of the pod, where `kubectl gpupack explain` recognises it.
"""

from enum import Enum


class NotReady(Enum):
    """Why an extender refuses every call; the value is the sentence."""

    SHUTTING_DOWN = "the scheduler extender is shutting down"
    NOT_SYNCED = "the scheduler extender has not read the cluster yet"
    LOST_CONTACT = "the scheduler extender has lost touch with the API server"

    @property
    def text(self) -> str:
        """The sentence."""
        return self.value


ROOM_IS_HELD = "room is held for it"
EVICTING = "pods are being evicted for it"
"""How the extender begins to explain why a pod that will be bound is not bound yet."""
