"""Simulates a kube-scheduler that calls the real extender."""
