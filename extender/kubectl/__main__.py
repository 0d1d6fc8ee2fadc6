"""Runs `kubectl gpupack` as `python -m extender.kubectl`."""

from extender.kubectl.cli import kubectl_gpupack

kubectl_gpupack()
