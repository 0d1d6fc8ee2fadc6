"""An API server as the doctor asks it: lists by path, and rights that are there or not."""

import json
from collections.abc import Mapping
from typing import Any

from device_plugin.kubeapi import ApiError
from device_plugin.pods.decoding import Page


class FakeDoctorApi:
    """`lists` has the objects by path; other paths are forbidden. `denied` are `(verb, resource)`."""

    def __init__(self, lists: Mapping[str, list[dict[str, Any]]], denied: tuple[tuple[str, str], ...] = ()) -> None:
        self.lists = dict(lists)
        self.denied = denied
        self.reviews = True

    def list(self, path: str, field_selector: str, timeout_s: float) -> Page:
        assert (field_selector, timeout_s > 0) == ("", True)
        if path not in self.lists:
            raise ApiError(403, f"GET {path}: forbidden")
        return Page(tuple(json.dumps(item).encode() for item in self.lists[path]), "1", "")

    def create(self, path: str, body: Mapping[str, Any], timeout_s: float) -> bytes:
        assert (path, timeout_s > 0) == ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", True)
        if not self.reviews:
            raise ApiError(404, f"POST {path}: not found")
        wanted = body["spec"]["resourceAttributes"]
        resource = "/".join(part for part in (wanted["resource"], wanted["subresource"]) if part)
        return json.dumps({"status": {"allowed": (wanted["verb"], resource) not in self.denied}}).encode()
