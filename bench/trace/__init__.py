"""Traces of GPU clusters: reading them, drawing arrivals from them, and generating synthetic ones."""
