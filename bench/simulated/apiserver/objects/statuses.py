"""Builds the Status objects and HTTP codes that Kubernetes' API machinery answers failures with.

Source: k8s.io/apimachinery/pkg/api/errors (the reasons, codes and wording).
"""

from typing import Any

import msgspec

_REASONS = {
    400: "BadRequest",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class StatusError(Exception):
    """A request that gets a failure Status.

    Args:
        code: HTTP code.
        message: text for people.
        reason: Kubernetes' machine-readable reason; None is the usual one of the code, empty none at all.
        details: the Status's `details`.
    """

    def __init__(
        self, code: int, message: str, *, reason: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = _REASONS.get(code, "Unknown") if reason is None else reason
        self.details = details

    def body(self) -> bytes:
        """The Status as JSON."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        status["code"] = self.code
        return msgspec.json.encode(status)


def success(details: dict[str, Any] | None = None, *, code: int = 200) -> bytes:
    """The Status of a request that worked and has no object to answer with."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = details
    if code != 200:
        status["code"] = code
    return msgspec.json.encode(status)


def not_found(plural: str, name: str) -> StatusError:
    """404 for an object that is not there."""
    return StatusError(404, f'{plural} "{name}" not found', details={"name": name, "kind": plural})


def already_exists(plural: str, name: str) -> StatusError:
    """409 for a create of an object that is there."""
    details = {"name": name, "kind": plural}
    return StatusError(409, f'{plural} "{name}" already exists', reason="AlreadyExists", details=details)


def conflict(plural: str, name: str, why: str) -> StatusError:
    """409 for a failed precondition."""
    text = f'Operation cannot be fulfilled on {plural} "{name}": {why}'
    return StatusError(409, text, details={"name": name, "kind": plural})


def precondition_failed(plural: str, key: str, field: str, wanted: str, held: str) -> StatusError:
    """409 for a write with another UID or ResourceVersion than the object's, in the words of the real storage."""
    why = (
        f"StorageError: invalid object, Code: 4, Key: /registry/{plural}/{key}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {held}"
    )
    return conflict(plural, key.rpartition("/")[2], why)


def other_object(plural: str, key: str, wanted: str, held: str) -> StatusError:
    """409 for a write whose UID is that of another object."""
    return precondition_failed(plural, key, "UID", wanted, held)


def forbidden(plural: str, name: str, why: str) -> StatusError:
    """403 from an admission plugin."""
    return StatusError(403, f'{plural} "{name}" is forbidden: {why}', details={"name": name, "kind": plural})


def invalid(kind: str, name: str, causes: list[tuple[str, str]]) -> StatusError:
    """422 for an object that breaks the rules of its kind; `causes` are pairs of field and text."""
    listed = [f"{field}: {text}" for field, text in causes]
    text = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    details = {
        "name": name,
        "kind": kind,
        "causes": [{"reason": "FieldValueInvalid", "message": text, "field": field} for field, text in causes],
    }
    return StatusError(422, f'{kind} "{name}" is invalid: {text}', details=details)


def expired(requested: int, oldest: int) -> StatusError:
    """410 for a revision that has left the history."""
    return StatusError(410, f"too old resource version: {requested} ({oldest})")


def expired_token() -> StatusError:
    """410 for a continue token whose snapshot is gone."""
    return StatusError(
        410,
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter.",
    )
