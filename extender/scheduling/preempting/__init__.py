"""Chooses which pods make room for a more important one."""
