"""Holds containers to their share: driver limits, MPS, watching, eviction."""
