"""Writes and reads the cordon annotation of a node: the GPUs that an admin took out of scheduling by hand."""

from collections.abc import Iterable

from extender.contract.allocation import parse_json
from extender.contract.units import ContractError, GpuUuid

_LONGEST = 64 * 1024


class CordonError(ContractError):
    """The annotation is neither a JSON list of UUIDs nor a comma-separated one; the message says what it is."""


def parse_cordon(text: str) -> frozenset[GpuUuid]:
    """UUIDs in `["GPU-...","GPU-..."]` or `GPU-...,GPU-...`; none in an empty text.

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
        if not isinstance(uuid, str) or not uuid.startswith("GPU-") or any(letter.isspace() for letter in uuid):
            raise CordonError(f"cordon: {uuid!r} is no GPU UUID, expected GPU-...")
    return frozenset(GpuUuid(str(uuid)) for uuid in found)


def cordon_text(uuids: Iterable[GpuUuid]) -> str:
    """The text of the annotation for these GPUs; empty for none: then the annotation should be removed."""
    return ",".join(sorted(uuids))


def unknown_in(cordoned: Iterable[GpuUuid], present: Iterable[GpuUuid]) -> tuple[GpuUuid, ...]:
    """The cordoned UUIDs that no GPU of the node has, in order."""
    return tuple(sorted(set(cordoned) - set(present)))
