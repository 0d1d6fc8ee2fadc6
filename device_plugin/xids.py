"""From XID errors of the driver to which GPUs are not to be used, and until when.

XID numbers: https://docs.nvidia.com/deploy/xid-errors/
"""

from dataclasses import dataclass

from extender.contract.units import GpuUuid

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""Errors of the application that ran, not of the GPU."""

QUIET_S = 300.0
"""A GPU without another critical XID for this long, and for which the driver asks no recovery, is used again."""


@dataclass(frozen=True, slots=True)
class _Seen:
    xid: int
    at_s: float


class XidRecord:
    """The last critical XID of every GPU; times are monotonic and come from the caller.

    `ignored` are XIDs that say nothing of a GPU's health, beside those of applications.
    """

    def __init__(self, ignored: frozenset[int] = frozenset()) -> None:
        self._ignored = APPLICATION_XIDS | ignored
        self._seen: dict[GpuUuid | None, _Seen] = {}

    def note(self, uuid: GpuUuid | None, xid: int, at_s: float) -> bool:
        """Take an XID, of all GPUs where the driver does not say which; False when it is ignored."""
        if xid in self._ignored:
            return False
        self._seen[uuid] = _Seen(xid, at_s)
        return True

    def problem(self, uuid: GpuUuid, now_s: float, *, needs_recovery: bool) -> str:
        """Why a GPU is not to be used; empty when it may be.

        `needs_recovery` is whether the driver asks for a reset or a reboot: as long as it does, time heals nothing.
        """
        for key in (uuid, None):
            seen = self._seen.get(key)
            if seen is not None and (now_s - seen.at_s < QUIET_S or needs_recovery):
                return f"XID {seen.xid}"
        return "the driver asks for a recovery action" if needs_recovery else ""
