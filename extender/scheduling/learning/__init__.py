"""Learns from the pods seen what each kind of free room is worth."""
