"""Renders the extender's page for people."""
