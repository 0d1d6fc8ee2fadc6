"""Serves an extender that decides nothing, the upper limit of what any extender could reach.

filter echoes the first names, prioritize gives every node the same score, and bind writes the Binding and waits for
it, as every extender that binds has to.
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from bench.simulated.apiserver import http11
from extender.kube.client import KubeApi, connect
from extender.kube.errors import ApiError, ApiUnreachable

_BINDS = 64


class _Connection(asyncio.Protocol):
    def __init__(self, api: KubeApi, pool: ThreadPoolExecutor, keep: int) -> None:
        self._api = api
        self._pool = pool
        self._keep = keep
        self._reader = http11.RequestReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        for request in self._reader.feed(data):
            self._serve(request.path, request.body)

    def _serve(self, path: str, body: bytes) -> None:
        if path == "/bind":
            asyncio.get_running_loop().create_task(self._bind(json.loads(body)))
        elif path == "/filter":
            names = _names(body)
            self._answer(b'{"NodeNames":%b,"Error":""}' % json.dumps(names[: self._keep or None]).encode())
        elif path == "/prioritize":
            self._answer(json.dumps([{"Host": name, "Score": 5} for name in _names(body)]).encode())
        else:
            self._answer(b"ok")

    async def _bind(self, call: dict[str, str]) -> None:
        loop = asyncio.get_running_loop()
        self._answer(await loop.run_in_executor(self._pool, self._write, call))

    def _write(self, call: dict[str, str]) -> bytes:
        try:
            self._api.bind_pod(call["PodNamespace"], call["PodName"], call["PodUID"], call["Node"], {}, timeout_s=5.0)
        except (ApiError, ApiUnreachable) as error:
            return json.dumps({"Error": str(error)}).encode()
        return b'{"Error":""}'

    def _answer(self, body: bytes) -> None:
        if self._transport is not None:
            self._transport.write(http11.render(200, body))


def _names(body: bytes) -> list[str]:
    """The NodeNames of a call, cut out of its body: the pod is of no interest."""
    start = body.rindex(b'"NodeNames":') + len(b'"NodeNames":')
    names: list[str] = json.loads(body[start : body.rindex(b"]") + 1])
    return names


async def _main(port: int, kubeconfig: str, keep: int) -> None:
    api = connect(kubeconfig, user_agent="gpupack-bench-stub")
    with ThreadPoolExecutor(_BINDS) as pool:
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(api, pool, keep), "127.0.0.1", port)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
