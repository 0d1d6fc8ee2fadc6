"""Calls to the API server as the extender makes them."""

import asyncio

import pytest

from extender.kube.client import KubeApi
from extender.kube.loopapi import LoopApi

PODS = "/api/v1/pods"


def bind(api: KubeApi, timeout_s: float = 5.0) -> None:
    """One bind as the extender makes it."""
    api.bind_pod("team", "train-0", "uid-1", "node-a", {"gpupack.io/allocation": "{}"}, timeout_s)


async def one(api: LoopApi, timeout_s: float = 5.0) -> None:
    """One bind as the extender makes it."""
    await api.bind_pod("team", "train-0", "uid-1", "node-a", {"gpupack.io/allocation": "{}"}, timeout_s)


def soon(api: KubeApi, times: int = 1, timeout_s: float = 5.0) -> None:
    """So many binds, one after the other, in one loop."""

    async def run() -> None:
        loop_api = api.for_loop()
        assert loop_api is not None
        try:
            for _ in range(times):
                await one(loop_api, timeout_s)
        finally:
            await loop_api.close()

    asyncio.run(run())


BOTH_WAYS = pytest.mark.parametrize("write", [bind, soon], ids=["thread", "loop"])
"""A bind by a thread and one within an event loop: what goes wrong means the same."""
