"""Tries on one real GPU what gpupack claims of GPUs, as one command with a budget of time."""
