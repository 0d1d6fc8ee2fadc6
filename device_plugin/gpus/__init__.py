"""Which GPUs there are and how they are: NVML, XIDs, health, simulated GPUs."""
