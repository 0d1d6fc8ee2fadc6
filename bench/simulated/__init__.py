"""Simulates a cluster: API server, kubelets and scheduler that drive the real extender and device plugin."""
