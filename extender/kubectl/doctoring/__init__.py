"""Checks a cluster's installation: facts to findings."""
