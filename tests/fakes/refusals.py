"""Errors as a client has them after an API server has refused something with a Status object."""

from extender.kube.errors import ApiError


def refused(status: int, reason: str, message: str = "", retry_after_s: float | None = None) -> ApiError:
    """A refusal that names no object."""
    return ApiError(status, reason, message, retry_after_s, about=("", ""))


def not_found(resource: str, name: str) -> ApiError:
    """There is no such object."""
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', about=(resource, name))
