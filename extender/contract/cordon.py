"""Writes and reads the cordon annotation of a node: the GPUs that an admin took out of scheduling by hand."""

from collections.abc import Iterable

from extender.contract.allocation import parse_json
from extender.contract.mig import MIG_PREFIX, MigDevice
from extender.contract.units import ContractError, GpuUuid

BY_HAND = "cordoned by hand"
"""The inventory's reason on a GPU that nothing but a cordon keeps out of service."""

_LONGEST = 64 * 1024
_PREFIXES = ("GPU-", MIG_PREFIX)


class CordonError(ContractError):
    """The annotation is neither a JSON list of UUIDs nor a comma-separated one; the message says what it is."""


def parse_cordon(text: str) -> frozenset[GpuUuid]:
    """UUIDs in `["GPU-...","MIG-..."]` or `GPU-...,MIG-...`; none in an empty text.

    Raises:
        CordonError: something else.
    """
    if len(text) > _LONGEST:
        raise CordonError(f"cordon: {len(text)} characters, expected at most {_LONGEST}")
    if not text.lstrip().startswith(("[", "{", '"')):
        found: list[object] = [part.strip() for part in text.split(",") if part.strip()]
    else:
        try:
            body = parse_json(text, what=f"cordon {text[:80]!r}")
        except ContractError as error:
            raise CordonError(str(error)) from error
        if not isinstance(body, list):
            raise CordonError(f"cordon {text[:80]!r}: expected a list of GPU UUIDs")
        found = body
    for uuid in found:
        if not isinstance(uuid, str) or not uuid.startswith(_PREFIXES) or any(letter.isspace() for letter in uuid):
            raise CordonError(f"cordon: {uuid!r} is no GPU UUID, expected GPU-... or MIG-...")
    return frozenset(GpuUuid(str(uuid)) for uuid in found)


def cordon_text(uuids: Iterable[GpuUuid]) -> str:
    """The text of the annotation for these GPUs; empty for none: then the annotation should be removed."""
    return ",".join(sorted(uuids))


def names_of(uuid: GpuUuid, mig: MigDevice | None) -> tuple[GpuUuid, ...]:
    """The UUIDs by which a GPU can be cordoned: its own, and of a MIG device that of its GPU, which means all of it."""
    return (uuid,) if mig is None else (uuid, mig.parent)


def unknown_in(cordoned: Iterable[GpuUuid], present: Iterable[GpuUuid]) -> tuple[GpuUuid, ...]:
    """The cordoned UUIDs that are not among `present`, the names of the node's GPUs, in order."""
    return tuple(sorted(set(cordoned) - set(present)))
