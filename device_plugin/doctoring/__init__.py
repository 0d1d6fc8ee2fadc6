"""Checks this machine: facts to findings."""
