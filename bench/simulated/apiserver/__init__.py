"""Simulates an API server in memory, for tests, the demo and the benchmarks."""
