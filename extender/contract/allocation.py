"""Writes and reads the JSON of the `allocation` and `allocated` pod annotations.

Form: `{"version":1,"unitMib":1024,"containers":{"main":{"GPU-...":8}},"policy":"binpack","at":"2026-01-31T12:00:00Z"}`.
`containers` gives the units on each GPU per container that holds GPU memory or whole GPUs (a whole GPU: all its units).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extender.contract.units import ContractError, GpuUuid, UnitMib, Units, check_unit_mib

VERSION = 1
LARGEST = 1 << 30
"""The largest number in an annotation, in MiB or units."""

_LONGEST = 256 * 1024
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which units of which GPUs each container of one pod has, in memory units of `unit_mib`.

    `policy` and `at` (RFC 3339) say which policy chose them and when; empty when unknown.
    """

    unit_mib: UnitMib
    containers: Mapping[str, Mapping[GpuUuid, Units]] = field(default_factory=dict)
    policy: str = ""
    at: str = ""

    def __post_init__(self) -> None:
        check_unit_mib(self.unit_mib)
        for container, gpus in self.containers.items():
            for uuid, units in gpus.items():
                if not uuid:
                    raise ContractError(f"allocation: container {container!r} names an empty GPU UUID")
                if units <= 0:
                    raise ContractError(f"allocation: containers.{container}.{uuid} is {units}, expected at least 1")

    def to_json(self) -> str:
        """The annotation's text; equal values give equal texts."""
        body: dict[str, Any] = {
            "version": VERSION,
            "unitMib": self.unit_mib,
            "containers": {name: dict(sorted(self.containers[name].items())) for name in sorted(self.containers)},
        }
        if self.policy:
            body["policy"] = self.policy
        if self.at:
            body["at"] = self.at
        return _encode(body)


def parse_allocation(text: str) -> Allocation:
    """Read an annotation.

    Raises:
        ContractError: not JSON of this version and form; the message names the field.
    """
    body = parse_object(text, what="allocation", version=VERSION)
    containers = body.get("containers")
    if not isinstance(containers, dict):
        raise ContractError(f"allocation: containers is {containers!r}, expected an object")
    parsed: dict[str, dict[GpuUuid, Units]] = {}
    for name, gpus in containers.items():
        if not isinstance(gpus, dict):
            raise ContractError(f"allocation: containers.{name} is {gpus!r}, expected an object of GPU UUID to units")
        parsed[name] = {GpuUuid(uuid): Units(integer_of(gpus, uuid, f"allocation: containers.{name}")) for uuid in gpus}
    return Allocation(
        unit_mib=check_unit_mib(integer_of(body, "unitMib", "allocation")),
        containers=parsed,
        policy=string_of(body, "policy", "allocation"),
        at=string_of(body, "at", "allocation"),
    )


def parse_object(text: str, *, what: str, version: int) -> dict[str, Any]:
    """The JSON object in `text`, after a check of its length and of its `version` field.

    Raises:
        ContractError: too long, not a JSON object, or of another version.
    """
    if len(text) > _LONGEST:
        raise ContractError(f"{what}: {len(text)} characters, expected at most {_LONGEST}")
    body = parse_json(text, what=what)
    if not isinstance(body, dict):
        raise ContractError(f"{what}: expected a JSON object, got {type(body).__name__}")
    if body.get("version") != version:
        raise ContractError(f"{what}: version is {body.get('version')!r}, expected {version}")
    return body


def parse_json(text: str, *, what: str) -> object:
    r"""The value in `text`.

    Raises:
        ContractError: not JSON, or with an escape such as `\ud800` alone, which no UTF-8 can hold.
    """
    try:
        body: object = json.loads(text)
        if "\\u" in text:
            json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ContractError(f"{what}: expected text that UTF-8 can hold, got half of a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{what}: not JSON: {error}") from error
    return body


def integer_of(body: Mapping[str, Any], key: str, where: str) -> int:
    """`body[key]` as an integer.

    Raises:
        ContractError: absent, not an integer, or beyond `LARGEST`.
    """
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ContractError(f"{where}.{key} is {value!r}, expected an integer")
    if abs(value) > LARGEST:
        raise ContractError(f"{where}.{key} is beyond {LARGEST}")
    return value


def string_of(body: Mapping[str, Any], key: str, where: str) -> str:
    """`body[key]` as a string; empty where absent.

    Raises:
        ContractError: present and not a string.
    """
    value = body.get(key, "")
    if not isinstance(value, str):
        raise ContractError(f"{where}.{key} is {value!r}, expected a string")
    return value
