"""Measures what the device plugin costs on a node and how fast it answers, over a simulated driver."""
