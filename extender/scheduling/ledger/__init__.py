"""Keeps which pod holds which GPU memory: bound, assumed or held."""
