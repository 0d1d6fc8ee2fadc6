"""A small CUDA program that takes memory on command, `python -m bench.gpu_day.workloads.client`; it needs no torch."""

import json
import os
import sys
import time

from bench.gpu_day.workloads.cuda import Cuda, CudaError
from bench.gpu_day.workloads.lines import say, serve_lines
from bench.gpu_day.workloads.stand_ins import StandInCuda


def main() -> None:
    """Open a context, say so, and do what comes as JSON lines."""
    settings = json.loads(sys.argv[1])
    began_s = time.perf_counter()
    try:
        cuda = StandInCuda() if settings["stand_in"] else Cuda()
        say({"pid": os.getpid(), "connect_s": time.perf_counter() - began_s, **cuda.info()})
    except (CudaError, OSError) as error:
        say({"error": str(error)})
        return
    serve_lines({"grow": cuda.grow, "touch": cuda.touch, "launch": cuda.launch, "info": cuda.info})


if __name__ == "__main__":
    main()
