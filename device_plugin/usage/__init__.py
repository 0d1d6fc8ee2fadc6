"""Measures how much of each GPU every container uses."""
