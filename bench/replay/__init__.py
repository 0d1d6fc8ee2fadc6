"""Replays traces through the shipped ledger, fitting and policies, and reports what was packed and what it costs."""
