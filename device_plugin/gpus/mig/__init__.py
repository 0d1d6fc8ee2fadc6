"""Decides which MIG devices of a GPU are offered, and what their sizes are called."""
