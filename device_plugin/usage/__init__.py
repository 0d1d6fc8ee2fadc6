"""Measures how much GPU memory each container uses."""
