"""Lets `python -m extender.kubectl` be what `kubectl gpupack` is."""

from extender.kubectl.cli import main

main(prog_name="kubectl gpupack")
