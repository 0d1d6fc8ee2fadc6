"""Tests whether MPS holds a client to its limit on one GPU: a CUDA program that tries to allocate more.

It runs as a process of its own, `python -m device_plugin.enforcing.mps_trial`, since CUDA reads the environment once
and a client stays one until it ends. It writes lines: its own process ID when it is connected, then, after a line from
its parent, the result of the attempt, empty when the limit held. Source of the calls:
https://docs.nvidia.com/cuda/cuda-driver-api
"""

import ctypes
import os
import sys

LIMIT_MIB = 1024
"""Room for the program's own context, on any GPU, and for the small allocation that must work."""

_SMALL_MIB = 16
_MIB = 1024 * 1024
_OUT_OF_MEMORY = 2
_LIBRARY = "libcuda.so.1"


class TrialError(Exception):
    """The attempt proves nothing about the limit; the message says why."""


def attempt(cuda: ctypes.CDLL) -> str:
    """Why the limit does not hold in this process; empty when it does.

    Raises:
        TrialError: the attempt proves nothing.
    """
    block = ctypes.c_uint64()
    code = cuda.cuMemAlloc_v2(ctypes.byref(block), ctypes.c_size_t(_SMALL_MIB * _MIB))
    if code == _OUT_OF_MEMORY:
        raise TrialError(f"not even {_SMALL_MIB} MiB are free to try it with")
    _check(code, "cuMemAlloc")
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _check(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), "cuMemGetInfo")
    code = cuda.cuMemAlloc_v2(ctypes.byref(block), ctypes.c_size_t(LIMIT_MIB * _MIB))
    if code == 0:
        return f"a client took more than its limit of {LIMIT_MIB} MiB"
    if code != _OUT_OF_MEMORY:
        _check(code, "cuMemAlloc")
    if total.value > LIMIT_MIB * _MIB and free.value < LIMIT_MIB * _MIB:
        raise TrialError("too little memory is free to distinguish the limit from a full GPU")
    return ""


def connect() -> ctypes.CDLL:
    """CUDA with a context on the one visible GPU.

    Raises:
        TrialError: there is no CUDA driver here, or it refuses.
    """
    try:
        cuda = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise TrialError(f"{_LIBRARY} is missing: the device plugin needs the driver capability compute") from error
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _check(cuda.cuInit(0), "cuInit")
    _check(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    _check(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device), "cuCtxCreate")
    return cuda


def _check(code: int, call: str) -> None:
    if code:
        raise TrialError(f"{call} answered with CUDA error {code}")


def main() -> None:
    """Run the trial on the GPU and daemon of the environment."""
    try:
        cuda = connect()
        _say(str(os.getpid()))
        sys.stdin.readline()
        _say(attempt(cuda))
    except TrialError as error:
        _say(f"not known: {error}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
