"""Calls the CUDA driver API through ctypes: a context, memory in every way that programs take it, and small kernels.

No toolkit and no torch are needed, only libcuda.so.1. Source of the calls and structs:
https://docs.nvidia.com/cuda/cuda-driver-api; of the kernels' language: https://docs.nvidia.com/cuda/parallel-thread-execution
"""

import ctypes
from typing import Any

LIBRARY = "libcuda.so.1"
_MIB = 1024 * 1024
_PINNED, _ON_DEVICE = 1, 1
"""CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_DEVICE."""

_PTX = b"""
.version 6.4
.target sm_75
.address_size 64

.visible .entry bad()
{
    .reg .b64 %at;
    .reg .b32 %one;
    mov.u64 %at, 64;
    mov.u32 %one, 1;
    st.global.u32 [%at], %one;
    ret;
}

.visible .entry spin(.param .u64 cycles)
{
    .reg .b64 %most, %begun, %passed;
    .reg .pred %again;
    ld.param.u64 %most, [cycles];
    mov.u64 %begun, %clock64;
AGAIN:
    mov.u64 %passed, %clock64;
    sub.u64 %passed, %passed, %begun;
    setp.lt.u64 %again, %passed, %most;
    @%again bra AGAIN;
    ret;
}

.visible .entry sweep(.param .u64 source, .param .u64 words, .param .u64 target)
{
    .reg .b64 %from, %to, %count, %at, %stride, %address;
    .reg .b32 %block, %width, %thread, %blocks, %first, %step, %sum, %word;
    .reg .pred %stop;
    ld.param.u64 %from, [source];
    ld.param.u64 %count, [words];
    ld.param.u64 %to, [target];
    cvta.to.global.u64 %from, %from;
    cvta.to.global.u64 %to, %to;
    mov.u32 %block, %ctaid.x;
    mov.u32 %width, %ntid.x;
    mov.u32 %thread, %tid.x;
    mov.u32 %blocks, %nctaid.x;
    mad.lo.u32 %first, %block, %width, %thread;
    mul.lo.u32 %step, %width, %blocks;
    cvt.u64.u32 %at, %first;
    cvt.u64.u32 %stride, %step;
    mov.u32 %sum, 0;
NEXT:
    setp.ge.u64 %stop, %at, %count;
    @%stop bra DONE;
    shl.b64 %address, %at, 2;
    add.u64 %address, %from, %address;
    ld.global.u32 %word, [%address];
    xor.b32 %sum, %sum, %word;
    add.u64 %at, %at, %stride;
    bra NEXT;
DONE:
    setp.eq.u32 %stop, %sum, 1;
    @%stop st.global.u32 [%to], %sum;
    ret;
}
\0"""
"""`bad` writes where nothing is, `spin` computes for so many cycles, `sweep` reads so many words of 4 bytes.

The store at the end of `sweep` never happens, but keeps a compiler from leaving out the reads.
"""


class CudaError(Exception):
    """A call failed; the message names it and has CUDA's code."""


class _Properties(ctypes.Structure):
    """CUmemAllocationProp."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("handle_types", ctypes.c_int),
        ("location_type", ctypes.c_int),
        ("location_id", ctypes.c_int),
        ("windows", ctypes.c_void_p),
        ("flags", ctypes.c_uint8 * 8),
    )


class Cuda:
    """The driver API with the primary context of the one visible GPU, which torch uses too.

    Raises:
        CudaError: there is no CUDA driver here, or it refuses.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise CudaError(f"{LIBRARY} cannot be loaded") from error
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._blocks: list[int] = []
        self._module: ctypes.c_void_p | None = None

    def info(self) -> dict[str, Any]:
        """Free and total memory, as the program sees them."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return {"free_mib": free.value / _MIB, "total_mib": total.value / _MIB}

    def grow(self, mib: int, step_mib: int, how: str) -> dict[str, Any]:
        """Take memory step by step until there is so much, or a step is refused; `code` is the refusal's."""
        take = {"malloc": self._malloc, "async": self._malloc_async, "vmm": self._create}[how]
        got_mib, code = 0, 0
        while got_mib < mib and not code:
            code = take(ctypes.c_size_t(step_mib * _MIB))
            got_mib += 0 if code else step_mib
        return {"got_mib": got_mib, "code": code}

    def block(self, mib: int) -> int:
        """The address of new memory, filled with zeros.

        Raises:
            CudaError: there is none.
        """
        code = self._malloc(ctypes.c_size_t(mib * _MIB))
        if code:
            raise CudaError(f"cuMemAlloc of {mib} MiB answered with CUDA error {code}")
        self._call("cuMemsetD8_v2", ctypes.c_uint64(self._blocks[-1]), 0, ctypes.c_size_t(mib * _MIB))
        return self._blocks[-1]

    def touch(self) -> dict[str, Any]:
        """Use the GPU a little: `code` says whether the context still works."""
        if self._blocks:
            code = self._library.cuMemsetD8_v2(ctypes.c_uint64(self._blocks[0]), 1, ctypes.c_size_t(4096))
            if code:
                return {"code": code}
        return {"code": self._library.cuCtxSynchronize()}

    def launch(self, kernel: str, cycles: int = 0, *, wait: bool = True) -> dict[str, Any]:
        """Launch one of the kernels of a fault, and wait for it unless told not to."""
        arguments = [ctypes.c_uint64(cycles)] if kernel == "spin" else []
        code = self._launch(self.function(kernel), 1, 1, arguments)
        return {"code": code or (self._library.cuCtxSynchronize() if wait else 0)}

    def function(self, name: str) -> ctypes.c_void_p:
        """One of the kernels.

        Raises:
            CudaError: the driver does not take them.
        """
        if self._module is None:
            self._module = ctypes.c_void_p()
            self._call("cuModuleLoadData", ctypes.byref(self._module), _PTX)
        found = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(found), self._module, name.encode())
        return found

    def sweep(self, function: ctypes.c_void_p, source: int, mib: int, target: int, blocks: int) -> None:
        """Read memory with the kernel `sweep`, without waiting for it.

        Raises:
            CudaError: it was not launched.
        """
        words = mib * _MIB // 4
        code = self._launch(function, blocks, 256, [ctypes.c_uint64(value) for value in (source, words, target)])
        if code:
            raise CudaError(f"cuLaunchKernel answered with CUDA error {code}")

    def wait(self) -> None:
        """Wait until the GPU has done everything.

        Raises:
            CudaError: something failed.
        """
        self._call("cuCtxSynchronize")

    def _launch(self, function: ctypes.c_void_p, blocks: int, threads: int, arguments: list[ctypes.c_uint64]) -> int:
        pointers = (ctypes.c_void_p * max(1, len(arguments)))(*map(ctypes.addressof, arguments))
        return int(self._library.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, None, pointers, None))

    def _malloc(self, size: ctypes.c_size_t) -> int:
        block = ctypes.c_uint64()
        code = int(self._library.cuMemAlloc_v2(ctypes.byref(block), size))
        if not code:
            self._blocks.append(block.value)
        return code

    def _malloc_async(self, size: ctypes.c_size_t) -> int:
        block = ctypes.c_uint64()
        code = int(self._library.cuMemAllocAsync(ctypes.byref(block), size, None))
        return code or int(self._library.cuCtxSynchronize())

    def _create(self, size: ctypes.c_size_t) -> int:
        """Physical memory without an address, as PyTorch's expandable segments and vLLM take it."""
        handle = ctypes.c_uint64()
        properties = _Properties(type=_PINNED, location_type=_ON_DEVICE)
        return int(self._library.cuMemCreate(ctypes.byref(handle), size, ctypes.byref(properties), ctypes.c_uint64(0)))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise CudaError(f"{name} answered with CUDA error {code}")
