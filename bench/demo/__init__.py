"""The demo: a stream of pods on a simulated cluster, a live picture of the GPUs, and what sharing them saved."""
