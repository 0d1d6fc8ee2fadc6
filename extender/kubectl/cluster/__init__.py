"""Reads a cluster and puts it into the shipped ledger."""
