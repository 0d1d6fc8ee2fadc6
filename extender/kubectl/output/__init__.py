"""Writes answers as text, JSON or YAML."""
