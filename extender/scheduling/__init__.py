"""Decisions: which GPU of which node a pod gets. Values in, values out; no clock, randomness, log, thread or I/O."""
