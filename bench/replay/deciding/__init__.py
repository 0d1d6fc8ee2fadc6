"""Decides where the pods of a replay go, with nothing but the shipped ledger, fitting and policies."""
