"""Replays pods as they come and go: FGD's arrivals, a steady state, or the trace's own times."""
