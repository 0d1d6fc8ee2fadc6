"""Shows a stream of pods on a simulated cluster, live, and what sharing the GPUs saved."""
