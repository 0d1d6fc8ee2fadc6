"""Lets `python -m extender.kubectl` be what `kubectl gpupack` is."""

from extender.kubectl.cli import kubectl_gpupack

kubectl_gpupack()
