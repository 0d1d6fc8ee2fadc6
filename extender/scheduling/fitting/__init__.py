"""Answers whether a pod fits a node, on which GPUs, and if not, why."""
