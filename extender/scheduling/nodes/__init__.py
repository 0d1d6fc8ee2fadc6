"""Nodes, their GPUs and those who hold them, at one generation of the ledger."""
