"""Samples the node's GPUs: real ones through NVML with their XID errors, or simulated ones from a YAML file."""
