"""Decides, purely, what to answer the kubelet: which container is meant, which devices, with which environment."""
