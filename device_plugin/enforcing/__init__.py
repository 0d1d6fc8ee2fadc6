"""Holds containers to their share: driver limits, MPS limits, overuse reports and evictions."""
