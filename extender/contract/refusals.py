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
