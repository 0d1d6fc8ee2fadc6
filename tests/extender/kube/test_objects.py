"""Objects are decoded from whatever JSON they come in, or refused with one kind of error."""

import pytest

from extender.kube.objects import DecodeError, read_node, read_pod

DEEP = b'{"f:a":' * 1500 + b"{}" + b"}" * 1500


def test_managed_fields_that_nest_deep_make_no_object_unreadable() -> None:
    """An API server stores them, and any tenant may write them."""
    raw = b'{"metadata":{"managedFields":[{"fieldsV1":%b}],"name":"p"},"spec":{"nodeName":"a"}}' % DEEP
    pod = read_pod(raw)
    assert (pod.metadata.name, pod.spec.node_name) == ("p", "a")
    assert read_node(raw).metadata.name == "p"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b'{"metadata":{"name":"\xff"}}',
        b'{"metadata":{"name":3}}',
        b'{"metadata":{},"spec":%b}' % (b"[" * 100_000 + b"]" * 100_000),
        b'{"metadata":{"labels":%b}}' % DEEP,
    ],
)
def test_anything_else_that_cannot_be_read_is_a_decode_error(raw: bytes) -> None:
    """Never another exception."""
    with pytest.raises(DecodeError, match="PodObject: "):
        read_pod(raw)
