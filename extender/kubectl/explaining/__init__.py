"""Explains why a pod is where it is, or why it waits."""
