"""Checks the installation in a cluster."""
