"""Packing policies: each a file that ranks GPUs and nodes, and a row in the table."""
