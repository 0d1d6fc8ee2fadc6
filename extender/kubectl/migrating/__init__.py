"""Rewrites manifests that ask other programs for shares of GPUs, so that they ask gpupack: YAML in, YAML out."""
