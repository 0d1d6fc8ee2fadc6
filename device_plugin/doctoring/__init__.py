"""Checks this machine and the plugin's own rights: facts are gathered first, then judged."""
