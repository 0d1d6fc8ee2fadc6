"""Kubernetes I/O: the one HTTP client, list+watch loop, Event recorder and set of API structs of all programs.

It knows nothing about GPUs or scheduling; the extender, the device plugin and kubectl gpupack stand on it.
"""
