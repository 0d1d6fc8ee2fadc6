"""Keeps the simulated API server's objects under the rules of each kind, without HTTP."""
