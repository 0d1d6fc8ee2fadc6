"""Nodes, their GPUs and the pods that hold them, at one generation of the ledger."""
