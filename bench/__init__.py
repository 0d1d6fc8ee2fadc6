"""The demo, the simulated cluster behind it, and the benchmarks; all of them run the shipped extender and plugin."""
