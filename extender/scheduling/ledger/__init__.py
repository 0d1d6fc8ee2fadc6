"""Keeps who holds which GPU memory: bound, assumed or held."""
