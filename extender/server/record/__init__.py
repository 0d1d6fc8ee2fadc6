"""Records decisions in the log and in Events."""
