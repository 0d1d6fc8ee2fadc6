"""Simulates an NVML library, built with a C compiler and driven live."""
