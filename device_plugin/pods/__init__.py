"""Keeps the pods of this node as values: what they ask for, what was planned, what they hold."""
