"""One inference server of the day, `python -m bench.gpu_day.workloads.server`: loads a model and serves on command."""

import json
import os
import sys

from bench.gpu_day.workloads.decoder import DecoderModel, DecoderSize
from bench.gpu_day.workloads.lines import say, serve_lines
from bench.gpu_day.workloads.serving import InferenceModel, InferenceServer
from bench.gpu_day.workloads.stand_ins import StandInModel
from bench.gpu_day.workloads.sweeping import SweepModel


def model_of(backend: str) -> InferenceModel:
    """The model of a backend: torch, kernels or stand-in."""
    if backend == "torch":
        return DecoderModel("cuda", DecoderSize())
    return SweepModel() if backend == "kernels" else StandInModel()


def main() -> None:
    """Say that it runs, and do what comes as JSON lines."""
    server = InferenceServer(model_of(json.loads(sys.argv[1])["backend"]))
    say({"pid": os.getpid()})
    serve_lines({"step": server.step, "serve": server.serve, "fill": server.fill})


if __name__ == "__main__":
    main()
