"""Simulates a kubelet that runs the real device plugin."""
