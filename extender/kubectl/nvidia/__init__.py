"""Reads clusters whose GPUs NVIDIA's device plugin gives out."""
