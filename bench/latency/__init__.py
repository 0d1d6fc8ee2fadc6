"""Measures what the extender adds to a scheduling cycle, next to a floor that decodes the same and decides nothing."""
