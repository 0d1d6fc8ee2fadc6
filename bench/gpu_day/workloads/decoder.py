"""A small language model of random weights on torch: a decoder with a cache of keys and values.

`launch` serves a batch of one kernel by kernel, as a program without CUDA graphs; `gpu` a larger batch with one CUDA
graph per token, as inference servers do.
"""

import importlib
import time
from dataclasses import dataclass
from typing import Any

from bench.gpu_day.workloads.cuda import Cuda

_HEAD = 64
_FILL_WIDTH = {"cuda": 8192, "cpu": 128}


@dataclass(frozen=True, slots=True)
class DecoderSize:
    """The model's dimensions, those of a model of about half a billion parameters; tokens per request."""

    width: int = 896
    ffn: int = 4864
    layers: int = 24
    vocabulary: int = 32000
    prompt: int = 128
    new_tokens: int = 16
    batch: int = 8


class DecoderModel:
    """An `InferenceModel` on torch.

    Args:
        device: cuda or cpu.
        size: its dimensions.
    """

    def __init__(self, device: str, size: DecoderSize) -> None:
        self._device = device
        self._size = size
        self._batches = {"launch": 1, "gpu": size.batch}
        self._torch: Any = None
        self._graph: Any = None

    def step(self, name: str) -> None:
        """Load one of the steps.

        Raises:
            CudaError: there is no CUDA here.
        """
        if name == "context" and self._device == "cuda":
            self._context = Cuda()  # the primary context, which torch uses too
        elif name == "library":
            self._import()
        elif name == "blas":
            square = self._torch.randn(1024, 1024, device=self._device, dtype=self._type)
            (square @ square).sum().item()
        elif name == "model":
            self._load()
        elif name == "warm":
            self._warm()

    def batch(self, kind: str) -> int:
        """Answers at the same time."""
        return self._batches[kind]

    def request(self, kind: str) -> list[float]:
        """One request: the prompt, then token by token, each waited for as a server does."""
        began_s = time.perf_counter()
        shape = (self._batches[kind], self._size.prompt)
        prompt = self._torch.randint(0, self._size.vocabulary, shape, device=self._device)
        first = self._forward(kind, prompt, self._places[: self._size.prompt])
        self._ids[kind].copy_(first.argmax(-1, keepdim=True))
        self._at[kind].fill_(self._size.prompt)
        self._wait()
        seconds = [time.perf_counter() - began_s]
        for _ in range(self._size.new_tokens - 1):
            began_s = time.perf_counter()
            if kind == "gpu" and self._graph is not None:
                self._graph.replay()
            else:
                self._decode(kind)
            self._at[kind].add_(1)
            self._wait()
            seconds.append(time.perf_counter() - began_s)
        return seconds

    def fill(self, until_s: float) -> None:
        """Large products back to back, several in flight."""
        width = _FILL_WIDTH[self._device]
        square = self._torch.randn(width, width, device=self._device, dtype=self._type)
        while time.time() < until_s:
            for _ in range(4):
                square @ square
            self._wait()

    def _import(self) -> None:
        # It is none of the project's packages.
        torch: Any = importlib.import_module("torch")
        self._torch = torch
        self._type = torch.bfloat16 if self._device == "cuda" else torch.float32
        torch.set_grad_enabled(False)
        if self._device == "cpu":
            torch.set_num_threads(1)
        torch.zeros(1, device=self._device)

    def _load(self) -> None:
        torch, size = self._torch, self._size
        make = {"device": self._device, "dtype": self._type}
        width, self._heads, self._longest = size.width, size.width // _HEAD, size.prompt + size.new_tokens
        shapes = {
            "qkv": (3 * width, width),
            "out": (width, width),
            "up": (2 * size.ffn, width),
            "down": (width, size.ffn),
        }
        self._embedding = torch.randn(size.vocabulary, width, **make) * 0.02
        self._head = torch.randn(size.vocabulary, width, **make) * 0.02
        self._layers = [
            {name: torch.randn(*shape, **make) * 0.02 for name, shape in shapes.items()} for _ in range(size.layers)
        ]
        self._caches = {
            kind: [torch.zeros(2, batch, self._heads, self._longest, _HEAD, **make) for _ in range(size.layers)]
            for kind, batch in self._batches.items()
        }
        whole = {"device": self._device, "dtype": torch.long}
        self._ids = {kind: torch.zeros(batch, 1, **whole) for kind, batch in self._batches.items()}
        self._at = {kind: torch.zeros(1, **whole) for kind in self._batches}
        self._places = torch.arange(self._longest, device=self._device)

    def _warm(self) -> None:
        for kind in self._batches:
            self.request(kind)
        if self._device != "cuda":
            return
        cuda = self._torch.cuda
        # A graph is captured on a stream of its own, after the work was done there once.
        stream = cuda.Stream()
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream):
            self._decode("gpu")
        cuda.current_stream().wait_stream(stream)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            self._decode("gpu")
        self._graph = graph
        self.request("gpu")

    def _decode(self, kind: str) -> None:
        self._ids[kind].copy_(self._forward(kind, self._ids[kind], self._at[kind]).argmax(-1, keepdim=True))

    def _forward(self, kind: str, ids: Any, places: Any) -> Any:
        """Scores of the token after the last; writes keys and values at `places`."""
        functional = self._torch.nn.functional
        batch, length = ids.shape
        x = self._embedding[ids]
        mask = self._places[None, :] <= places[:, None]
        for layer, cache in zip(self._layers, self._caches[kind], strict=True):
            parts = functional.linear(self._norm(x), layer["qkv"]).view(batch, length, 3, self._heads, _HEAD)
            query, key, value = parts.unbind(2)
            cache[0].index_copy_(2, places, key.transpose(1, 2))
            cache[1].index_copy_(2, places, value.transpose(1, 2))
            seen = functional.scaled_dot_product_attention(query.transpose(1, 2), cache[0], cache[1], attn_mask=mask)
            x = x + functional.linear(seen.transpose(1, 2).reshape(batch, length, -1), layer["out"])
            gate, up = functional.linear(self._norm(x), layer["up"]).chunk(2, -1)
            x = x + functional.linear(functional.silu(gate) * up, layer["down"])
        return functional.linear(x[:, -1], self._head)

    def _norm(self, x: Any) -> Any:
        return x * self._torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)

    def _wait(self) -> None:
        if self._device == "cuda":
            self._torch.cuda.synchronize()
