"""Tell the caller of a failed request what it means: what was refused, why, and whether a write may have happened."""

from collections.abc import Mapping

import msgspec

from extender.kube.objects import UNREADABLE

_TEXT_CHARS = 500
"""What is kept of an answer that is not a Status object: a proxy's HTML page must not fill the log."""


class KubeConfigError(Exception):
    """The kubeconfig file or the service account can't be used; the message names the file and what is wrong."""


class ApiError(Exception):
    """The API server answered, and not with 2xx.

    Attributes:
        status: the HTTP status, e.g. 409.
        reason: the Status object's machine-readable reason, e.g. `Conflict`; else the HTTP reason phrase.
        message: the Status object's text for people; else the start of the body.
        retry_after_s: how long the server asked to wait, None when it did not.
        about: resource and name of the object that the Status object is about, `("pods", "train-0")`, empty ones where
            it names none; None when the body is no Status object. Then anybody on the way may have answered, a load
            balancer for instance, and the answer proves nothing about any object.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        retry_after_s: float | None = None,
        *,
        about: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
        self.about = about

    def says_gone(self, resource: str, name: str) -> bool:
        """Whether an API server says here that there is no such object, as it says of `pods` and a pod's name.

        A 404 alone does not: a load balancer without a backend answers it for every path, and so does an API server
        that does not serve the path.
        """
        return self.status == 404 and self.reason == "NotFound" and self.about == (resource, name)


class ApiUnreachable(Exception):  # noqa: N818 - named for what it says: there is no answer
    """No answer, half of one, or one that an API server does not give: refused, reset, timed out, a proxy's page.

    Attributes:
        sent: whether the request may have been executed. False only when it is sure that it never left: then a write
            can be forgotten. True means that only a live read can tell.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class AnswerTooLargeError(Exception):
    """The answer is longer than the caller accepts; ask for less."""


class _Details(msgspec.Struct, gc=False):
    name: str = ""
    kind: str = ""
    retryAfterSeconds: float | None = None  # noqa: N815 - the API's own name


class _Status(msgspec.Struct, gc=False):
    kind: str = ""
    status: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


_DECODE_STATUS = msgspec.json.Decoder(_Status).decode


def error_of_answer(status: int, phrase: str, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error that an HTTP answer other than 2xx stands for.

    `headers` are looked up as given (`Retry-After`); `body` is a meta/v1 Status object or, from a proxy, anything.
    """
    decoded = _status_of(body)
    retry_after_s = _seconds_of(headers.get("Retry-After"))
    if decoded is None:
        return ApiError(status, phrase or "Unknown", body[:_TEXT_CHARS].decode("utf-8", "replace"), retry_after_s)
    if retry_after_s is None and decoded.details is not None:
        retry_after_s = decoded.details.retryAfterSeconds
    about = None
    if decoded.kind == "Status":
        about = (decoded.details.kind, decoded.details.name) if decoded.details is not None else ("", "")
    return ApiError(status, decoded.reason or phrase or "Unknown", decoded.message, retry_after_s, about=about)


def is_success(body: bytes) -> bool:
    """Whether this is the Status object by which an API server says that a write without an object is done."""
    decoded = _status_of(body)
    return decoded is not None and (decoded.kind, decoded.status) == ("Status", "Success")


def error_of_event(raw: bytes) -> ApiError:
    """The error in the Status object of a watch event of type ERROR; status 500 when it carries none."""
    decoded = _status_of(raw)
    if decoded is None:
        return ApiError(500, "Unknown", raw[:_TEXT_CHARS].decode("utf-8", "replace"))
    retry_after_s = decoded.details.retryAfterSeconds if decoded.details is not None else None
    return ApiError(decoded.code or 500, decoded.reason or "Unknown", decoded.message, retry_after_s)


def _status_of(body: bytes) -> _Status | None:
    try:
        return _DECODE_STATUS(body)
    except UNREADABLE:
        return None


def _seconds_of(text: str | None) -> float | None:
    """A Retry-After header's seconds; its other form, a date, is not used by API servers and is taken as absent."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return float(text)
