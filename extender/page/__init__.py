"""The page for people at `GET /`: nodes, GPUs, who is on them, who waits and why, and what was decided lately."""
