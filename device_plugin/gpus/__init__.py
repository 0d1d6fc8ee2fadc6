"""Values and decisions about GPUs, pure: samples, readings, device IDs, probation, conflicts, enforcement rungs."""
