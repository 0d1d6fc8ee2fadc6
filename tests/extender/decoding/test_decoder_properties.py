"""Decoding held to a walk through a pod's life, and to any JSON there is."""

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from extender.contract.names import Names
from extender.decoding.decoder import Decoder
from extender.kube.objects import DecodeError
from tests.extender.objects import UNIT_MIB, Json, container, pod, raw, sidecar

DECODER = Decoder(Names(), UNIT_MIB)


def milli(value: int) -> str:
    """A CPU quantity."""
    return f"{value}m"


def naive(apps: list[int], inits: list[tuple[int, bool]], overhead: int, whole: int | None) -> int:
    """The largest sum that is ever asked for at once: walks through the pod's life."""
    if whole is not None:
        return whole + overhead
    alive = 0
    moments = []
    for amount, restarts in inits:
        moments.append(alive + amount)
        if restarts:
            alive += amount
    moments.append(alive + sum(apps))
    return max(moments) + overhead


amounts = st.integers(0, 5000)


@given(
    apps=st.lists(amounts, min_size=1, max_size=4),
    inits=st.lists(st.tuples(amounts, st.booleans()), max_size=4),
    overhead=amounts,
    whole=st.none() | amounts,
)
def test_effective_cpu_and_memory_follow_the_kubelet(
    apps: list[int], inits: list[tuple[int, bool]], overhead: int, whole: int | None
) -> None:
    """Init containers, sidecars, overhead and pod-level resources, against a walk through the pod's life."""
    spec: Json = {"overhead": {"cpu": milli(overhead), "memory": str(overhead)}}
    if whole is not None:
        spec["resources"] = {"requests": {"cpu": milli(whole), "memory": str(whole)}}
    body = pod(
        "train",
        containers=[container(f"a{at}", cpu=milli(asked), memory=str(asked)) for at, asked in enumerate(apps)],
        init=[
            (sidecar if restarts else container)(f"i{at}", cpu=milli(asked), memory=str(asked))
            for at, (asked, restarts) in enumerate(inits)
        ],
        **spec,
    )
    expected = naive(apps, inits, overhead, whole)
    decoded = DECODER.pod(raw(body))
    assert (expected, expected) == (decoded.cpu_milli, decoded.memory_bytes)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_a_record_or_a_decode_error(body: object) -> None:
    """No other exception ever comes out, whatever comes in at the places that are read."""
    for wrapped in ({"metadata": {"resourceVersion": "1", "annotations": body}, "spec": {"containers": body}}, body):
        text = json.dumps(wrapped).encode()
        for decode in (DECODER.pod, DECODER.node):
            with suppress(DecodeError):
                decode(text)
