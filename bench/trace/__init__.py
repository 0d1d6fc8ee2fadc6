"""Reads traces of GPU clusters, draws arrivals from them, makes synthetic ones, and reports on them."""
