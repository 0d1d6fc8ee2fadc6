"""Measures what the extender adds to a scheduling cycle, beside a floor that decodes the same and decides nothing."""
