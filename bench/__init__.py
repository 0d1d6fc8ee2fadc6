"""Holds the demo, the simulated cluster behind it, and the benchmarks, which run the shipped extender and plugin."""
