"""Holds the ledger behind its lock, fed by the watches and asked by the verbs."""
