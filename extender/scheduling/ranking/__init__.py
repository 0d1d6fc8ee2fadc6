"""Keeps the nodes ordered by cost for each kind of request."""
